"""Parquet (with a row's split in a column, or in the shards' names as on Hugging Face) and npz -> Faces."""

from __future__ import annotations

import json
import re
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien.data.builder import TRAINING, Builder, first_usage, usage_from_word
from mien.data.classes import Classes, table_classes
from mien.data.faces import SIDE
from mien.data.readers.images import decode_face
from mien.emotions import FERPLUS
from mien.errors import DataError, require

_BATCH = 2048
OWN = b"mien.own_classes"
"""The metadata by which mien marks a parquet file whose classes are taken literally, whatever they are called."""
VOTES = [f"ferplus_{name}" for name in FERPLUS]
"""The columns of the FER+ votes."""


class _Shard(NamedTuple):
    """A file; the split of rows that have none of their own; its columns; what its metadata call the labels."""

    path: Path
    file: Any
    split: int
    label: str
    usage: str | None
    votes: list[str]
    names: tuple[str, ...] | None
    classes: Classes | None


def read_parquet(files: Sequence[Path], root: Path, builder: Builder) -> None:
    """Read shards into ``builder``: Training first, then the test splits, shards of a split by name.

    Raises:
        DataError: where a file is damaged or lacks the columns of image and label.
        BadRowError: at the first bad row, unless the builder skips them.
    """
    shards = sorted((_open(path, root) for path in files), key=lambda shard: (shard.split, shard.path))
    total = sum(shard.file.metadata.num_rows for shard in shards)
    if len({shard.classes.names if shard.classes else None for shard in shards}) > 1:
        raise DataError("its files name different classes", root, "Read them one by one.")
    builder.classes = shards[0].classes
    builder.is_fer2013 = all(shard.label == "emotion" and shard.usage is not None for shard in shards)
    row = 0
    with ThreadPoolExecutor() as pool:
        for shard in shards:
            row = _read_shard(shard, pool, builder, row, total)


def _open(path: Path, root: Path) -> _Shard:
    arrow, parquet = require("pyarrow", "train"), require("pyarrow.parquet", "train")
    try:
        file = parquet.ParquetFile(path, pre_buffer=False)  # which would keep all that was read until the file goes
        schema = file.schema_arrow
    except (arrow.ArrowException, OSError, ValueError, LookupError) as error:
        raise _damaged(path, error) from error
    label = next((name for name in ("emotion", "label", "labels") if name in schema.names), None)
    if label is None or "image" not in schema.names or not _holds_bytes(schema.field("image").type):
        what = f"it needs the columns image (encoded bytes) and emotion (or label); it has {', '.join(schema.names)}"
        raise DataError(what, path, "Rename the columns, or convert the data set with mien data convert.")
    usage = next((name for name in schema.names if name.lower() == "usage"), None)
    metadata = schema.metadata or {}
    names = class_names(metadata, label)
    classes = table_classes(names, OWN in metadata, path)
    votes = VOTES if set(VOTES) <= set(schema.names) else []
    return _Shard(path, file, _usage_of_shard(path, root), label, usage, votes, names, classes)


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"the parquet file is damaged ({str(error).splitlines()[0]})", path, "Fetch or write it again.")


def _usage_of_shard(path: Path, root: Path) -> int:
    """The split in a shard's name, as in ``test-00000-of-00001.parquet``, or in its folder's; else Training."""
    relative = path.relative_to(root) if path != root else Path(path.name)
    words = (re.split(r"[^A-Za-z]+", part) for part in reversed(relative.with_suffix("").parts))
    usage = first_usage(chain.from_iterable(words))
    return TRAINING if usage is None else usage


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


def _read_shard(shard: _Shard, pool: ThreadPoolExecutor, builder: Builder, first: int, total: int) -> int:
    """Add a file whose rows are numbered from ``first``; returns the number after its last."""
    arrow = require("pyarrow", "train")
    columns = ["image", shard.label, *([shard.usage] if shard.usage else []), *shard.votes]
    row = first
    try:
        for batch in shard.file.iter_batches(_BATCH, columns=columns):
            _add_batch(batch, shard, pool, builder, row, first)
            row += len(batch)
            builder.tick(row, total, "faces")
        builder.flush()
    except (arrow.ArrowException, OSError, ValueError, LookupError) as error:
        raise _damaged(shard.path, error) from error
    return row


def _add_batch(batch: Any, shard: _Shard, pool: ThreadPoolExecutor, builder: Builder, row: int, first: int) -> None:
    blobs = (blob["bytes"] if isinstance(blob, dict) else blob for blob in batch.column("image").to_pylist())
    images = [pool.submit(decode_face, blob) for blob in blobs]
    labels = batch.column(shard.label).to_pylist()
    usages = batch.column(shard.usage).to_pylist() if shard.usage else [None] * len(batch)
    votes = np.array([_votes(batch.column(name)) for name in shard.votes]).T if shard.votes else None  # (n, 10)
    for i, image in enumerate(images):
        place = f"data row {row + i - first + 1}"
        with builder.checked(shard.path, place):
            face, size = image.result()
            usage = shard.split if usages[i] is None else usage_from_word(str(usages[i]))
            label = _label(labels[i], usage, shard, builder)
            builder.append(face, label, usage, row + i, None if votes is None else votes[i])
            builder.note_size(shard.path, place, size)


def _votes(column: Any) -> NDArray[np.uint8]:
    votes: NDArray[Any] = column.fill_null(0).to_numpy(zero_copy_only=False)
    return votes.clip(0, 255).astype(np.uint8)


def _label(value: object, usage: int, shard: _Shard, builder: Builder) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if shard.names is not None and isinstance(value, int) and 0 <= value < len(shard.names):
        value = shard.names[value]
    return builder.label("" if value is None else str(value), usage)


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
    images, votes = arrays["images"], arrays.get("ferplus")
    if images.size and not (images.min() >= 0 and images.max() <= 255):
        raise DataError("the array images holds values outside 0 to 255", path, "Write it as uint8.")
    builder.is_fer2013 = True
    for row, (label, word) in enumerate(zip(arrays["emotion"].tolist(), arrays["usage"].tolist(), strict=True)):
        with builder.checked(path, f"data row {row + 1}"):
            usage = usage_from_word(str(word))
            emotion = builder.label(str(label), usage)
            face, count = images[row].astype(np.uint8), None if votes is None else votes[row].astype(np.uint8)
            builder.append(face, emotion, usage, row, count)


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
