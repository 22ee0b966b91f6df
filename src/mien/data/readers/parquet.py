"""Parquet (with a row's split in a column, or in the shards' names as on Hugging Face) and npz -> Faces."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien.data.builder import TRAINING, Builder, usage_from_word
from mien.data.classes import Classes, table_classes
from mien.data.faces import SIDE
from mien.data.readers.images import decode_all
from mien.emotions import FERPLUS
from mien.errors import DataError, require

_BATCH = 2048
OWN = b"mien.own_classes"
"""The metadata by which mien marks a parquet file whose classes are as they stand, whatever they are called."""
_VOTES = [f"ferplus_{name}" for name in FERPLUS]


class _Shard(NamedTuple):
    path: Path
    file: Any
    usage: int


class _Layout(NamedTuple):
    label: str
    usage: str | None
    votes: bool
    names: tuple[str, ...] | None
    classes: Classes | None

    @property
    def is_fer2013(self) -> bool:
        """Whether the columns are FER2013's: its labels are numbers in its own order."""
        return self.label == "emotion" and self.usage is not None

    @property
    def columns(self) -> list[str]:
        return ["image", self.label, *([self.usage] if self.usage else []), *(_VOTES if self.votes else [])]


def read_parquet(files: Sequence[Path], root: Path, builder: Builder) -> None:
    """Read shards into ``builder``: Training first, then the test splits, shards of a split by name.

    Raises:
        DataError: where a file is damaged or lacks the columns of image and label.
        BadRowError: at the first bad row, unless the builder skips them.
    """
    parquet = require("pyarrow.parquet", "train")
    shards = sorted(
        (_Shard(path, _open(parquet, path), _usage_of_shard(path, root)) for path in files),
        key=lambda shard: (shard.usage, shard.path),
    )
    total = sum(shard.file.metadata.num_rows for shard in shards)
    builder.labels = _labels([_layout(shard) for shard in shards], root) or builder.labels
    builder.is_fer2013 = all(_layout(shard).is_fer2013 for shard in shards)
    row = 0
    with ThreadPoolExecutor() as pool:
        for shard in shards:
            row = _read_shard(shard, pool, builder, row, total)


def _labels(layouts: Sequence[_Layout], root: Path) -> tuple[str, ...] | None:
    """The classes of one's own that the shards name; None for the seven emotions."""
    named = list(dict.fromkeys(layout.classes.names if layout.classes else None for layout in layouts))
    if len(named) > 1:
        raise DataError("its files name different classes", root, "Read them one by one.")
    return named[0] if named else None


def _open(parquet: Any, path: Path) -> Any:
    arrow = require("pyarrow", "train")
    try:
        return parquet.ParquetFile(path, pre_buffer=False)  # which would keep all that was read until the file goes
    except (arrow.ArrowException, OSError, ValueError, LookupError) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"the parquet file is damaged ({str(error).splitlines()[0]})", path, "Fetch or write it again.")


def _usage_of_shard(path: Path, root: Path) -> int:
    """The split in a shard's name, as in ``test-00000-of-00001.parquet``, or in its folder's; else Training."""
    relative = path.relative_to(root) if path != root else Path(path.name)
    for part in reversed(relative.with_suffix("").parts):
        for word in re.split(r"[^A-Za-z]+", part):
            try:
                return usage_from_word(word)
            except ValueError:
                continue
    return TRAINING


def _layout(shard: _Shard) -> _Layout:
    schema = shard.file.schema_arrow
    label = next((name for name in ("emotion", "label", "labels") if name in schema.names), None)
    if label is None or "image" not in schema.names or not _holds_bytes(schema.field("image").type):
        what = f"it needs the columns image (encoded bytes) and emotion (or label); it has {', '.join(schema.names)}"
        raise DataError(what, shard.path, "Rename the columns, or convert the data set with mien data convert.")
    usage = next((name for name in schema.names if name.lower() == "usage"), None)
    notes = schema.metadata or {}
    names = class_names(notes, label)
    classes = table_classes(names, OWN in notes, shard.path)
    return _Layout(label, usage, set(_VOTES) <= set(schema.names), names, classes)


def _holds_bytes(kind: Any) -> bool:
    """Whether a column is of bytes, or of the structs of bytes and path that Hugging Face writes."""
    types = require("pyarrow.types", "train")
    if types.is_struct(kind):
        return any(kind.field(i).name == "bytes" and _holds_bytes(kind.field(i).type) for i in range(kind.num_fields))
    return bool(types.is_binary(kind) or types.is_large_binary(kind))


def class_names(metadata: Mapping[bytes, bytes], label: str) -> tuple[str, ...] | None:
    """The names behind a Hugging Face label column; their order is often alphabetical, so numbers alone mislead."""
    try:
        names = json.loads(metadata[b"huggingface"])["info"]["features"][label]["names"]
    except (KeyError, ValueError, TypeError):
        return None
    return tuple(str(name) for name in names)


def _read_shard(shard: _Shard, pool: ThreadPoolExecutor, builder: Builder, row: int, total: int) -> int:
    arrow = require("pyarrow", "train")
    layout = _layout(shard)
    first = row
    try:
        for batch in shard.file.iter_batches(_BATCH, columns=layout.columns):
            _add_batch(batch, shard, layout, pool, builder, range(row, row + len(batch)), first)
            row += len(batch)
            builder.tick(row, total, "faces")
    except (arrow.ArrowException, OSError, ValueError, LookupError) as error:
        raise _damaged(shard.path, error) from error
    return row


def _add_batch(
    batch: Any, shard: _Shard, layout: _Layout, pool: ThreadPoolExecutor, builder: Builder, rows: range, first: int
) -> None:
    table = {name: batch.column(name).to_pylist() for name in layout.columns if name not in _VOTES}
    usages = table[layout.usage] if layout.usage else [None] * len(rows)
    blobs = [blob["bytes"] if isinstance(blob, dict) else blob for blob in table["image"]]
    good: list[int] = []
    images, emotion, usage = [], [], []
    for position, image in enumerate(decode_all(pool, blobs)):
        try:
            if isinstance(image, ValueError):
                raise image
            split = shard.usage if usages[position] is None else usage_from_word(str(usages[position]))
            emotion.append(_label(table[layout.label][position], split, layout, builder))
        except ValueError as error:
            builder.bad(shard.path, f"data row {rows[position] - first + 1}", error)
        else:
            good.append(position)
            images.append(image.face)
            usage.append(split)
            builder.note_size(shard.path, f"data row {rows[position] - first + 1}", image.size)
    votes = np.array([_votes(batch.column(name)) for name in _VOTES]).T[good] if layout.votes else None  # (n, 10)
    faces = np.array(images, dtype=np.uint8).reshape(-1, SIDE, SIDE)
    builder.add(faces, emotion, usage, [rows[position] for position in good], votes)


def _votes(column: Any) -> NDArray[np.uint8]:
    votes: NDArray[Any] = column.fill_null(0).to_numpy(zero_copy_only=False)
    return votes.clip(0, 255).astype(np.uint8)


def _label(value: object, usage: int, layout: _Layout, builder: Builder) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if layout.names is not None and isinstance(value, int) and 0 <= value < len(layout.names):
        value = layout.names[value]
    word = "" if value is None else str(value)
    if layout.classes is not None and word not in ("", "-1"):
        return layout.classes.index(word)
    return builder.label(word, usage)


def read_npz(path: Path, builder: Builder) -> None:
    """Read an npz of ``images`` uint8 (N, 48, 48), ``emotion`` (N,), ``usage`` str (N,), maybe ``ferplus`` (N, 10).

    Raises:
        DataError: where the file is damaged, or an array is missing or has another shape.
        BadRowError: at the first row with an unknown label or split, unless the builder skips them.
    """
    arrays = _load_arrays(path)
    n = len(arrays["images"])
    shapes = {"images": (n, SIDE, SIDE), "emotion": (n,), "usage": (n,), "ferplus": (n, 10)}
    for name, array in arrays.items():
        if array.shape != shapes[name] or (name in ("images", "ferplus") and array.dtype.kind not in "ui"):
            what = f"the array {name} must be {shapes[name]}, not {array.dtype} {array.shape}"
            raise DataError(what, path, "Write it again in the layout that mien reads.")
    _add_arrays(arrays, path, builder)


def _load_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in ("images", "emotion", "usage")}
            return arrays | ({"ferplus": archive["ferplus"]} if "ferplus" in archive.files else {})
    except KeyError as error:
        mend = "It needs images, emotion and usage; an archive of other files must be unpacked first."
        raise DataError(f"the archive lacks an array ({error.args[0]})", path, mend) from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"the npz file is damaged ({error})", path, "Write it again.") from error


def _add_arrays(arrays: dict[str, NDArray[Any]], path: Path, builder: Builder) -> None:
    builder.is_fer2013 = True
    good: list[int] = []
    emotion, usage = [], []
    for row, (label, word) in enumerate(zip(arrays["emotion"].tolist(), arrays["usage"].tolist(), strict=True)):
        try:
            split = usage_from_word(str(word))
            emotion.append(builder.label(str(label), split))
        except ValueError as error:
            builder.bad(path, f"data row {row + 1}", error)
        else:
            usage.append(split)
            good.append(row)
    votes = arrays["ferplus"][good].astype(np.uint8) if "ferplus" in arrays else None
    builder.add(_as_pixels(arrays["images"][good], path), emotion, usage, good, votes)


def _as_pixels(images: NDArray[Any], path: Path) -> NDArray[np.uint8]:
    if images.size and not (images.min() >= 0 and images.max() <= 255):
        raise DataError("the array images holds values outside 0 to 255", path, "Write it as uint8.")
    return images.astype(np.uint8)
