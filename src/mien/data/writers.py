"""Faces -> the layouts that people exchange: two tables, a folder of images, parquet; and example images."""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mien._utils.files import atomic
from mien.data.builder import TRAINING
from mien.data.classes import CLASSES_FILE
from mien.data.faces import UNLABELLED, USAGES, Faces
from mien.data.readers.parquet import OWN, VOTES
from mien.emotions import LABELS
from mien.errors import DataError, require

_BATCH = 4096


class Layout(StrEnum):
    """The layouts that :func:`convert_faces` writes."""

    CSV = "csv"
    OLD_CSV = "old-csv"
    FOLDER = "folder"
    PARQUET = "parquet"


def convert_faces(faces: Faces, out: str | Path, layout: str) -> Path:
    """Write faces so that :func:`mien.data.load_faces` reads the same images, labels and splits.

    Args:
        faces: what to write.
        out: the file, or for ``folder`` the folder, to write; nothing is left there when writing fails.
        layout: ``csv`` (icml_face_data.csv), ``old-csv`` (fer2013.csv), ``folder``
            (``{train,test}/<class>/<Usage>_<row>.png``) or ``parquet`` (lossless WebP, with the FER+ votes). The
            tables have room for the seven emotions only; the others keep classes of one's own and their order.

    Returns:
        The path written.

    Raises:
        DataError: for an unknown layout, a folder that is not empty, a path that cannot be written, faces without
            a label where the layout has no room for them, or no faces at all.
    """
    writers: dict[str, Callable[[Faces, Path], None]] = {
        Layout.CSV: partial(_write_table, header="emotion, Usage, pixels", row="{emotion},{usage},{pixels}"),
        Layout.OLD_CSV: partial(_write_table, header="emotion,pixels,Usage", row="{emotion},{pixels},{usage}"),
        Layout.FOLDER: _write_folder,
        Layout.PARQUET: _write_parquet,
    }
    if layout not in writers:
        raise DataError(f"there is no layout {layout!r}", mend=f"Choose one of {', '.join(writers)}.")
    _check(faces, layout)
    path = Path(out).expanduser()
    if layout != Layout.FOLDER and path.is_dir():
        raise DataError("this is a folder, and the layout is one file", path, "Give the path of a file.")
    try:
        writers[layout](faces, path)
    except OSError as error:
        raise DataError(f"it cannot be written ({error.strerror or error})", path, "Choose another path.") from error
    return path


def _check(faces: Faces, layout: str) -> None:
    if not len(faces):
        raise DataError("there are no faces to write", faces.name)
    unlabelled = faces.emotion == UNLABELLED
    if layout in (Layout.CSV, Layout.OLD_CSV) and faces.labels != LABELS:
        what = f"{layout} has room for the seven emotions only, not for {', '.join(faces.labels)}"
        raise DataError(what, faces.name, "Write folder or parquet.")
    if layout == Layout.FOLDER and any(set("/\\:") & set(label) for label in faces.labels):
        raise DataError("a class's name cannot be a folder's", faces.name, "Write parquet.")
    if layout == Layout.FOLDER and unlabelled.any():
        what = f"{unlabelled.sum():,} faces have no label, and folders are named after labels"
        raise DataError(what, faces.name, "Write csv or parquet.")
    if (unlabelled & (faces.usage == TRAINING)).any():
        raise DataError("it has Training faces without a label", faces.name, "Label them, or leave them out.")


def _write_table(faces: Faces, path: Path, header: str, row: str) -> None:
    """One line a face, byte for byte as in Kaggle's files; a face without a label has an empty field."""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="ascii", buffering=1 << 20) as file:
        file.write(header + "\n")
        for image, emotion, usage in zip(faces.images, faces.emotion.tolist(), faces.usage, strict=True):
            label = "" if emotion == UNLABELLED else emotion
            text = _NUMBERS[image.ravel()].tobytes().replace(b"\0", b"").decode()[:-1]
            file.write(row.format(emotion=label, usage=USAGES[usage], pixels=text) + "\n")


_NUMBERS = np.array([f"{number} ".encode() for number in range(256)])  # padded with zeros to 4 bytes each


def _write_folder(faces: Faces, path: Path) -> None:
    is_ordered = bool((np.diff(faces.row) > 0).all() and faces.row[0] >= 0)
    rows = faces.row if is_ordered else np.arange(len(faces))  # so that reading by number keeps the order
    names = [label.lower() for label in faces.labels] if faces.labels == LABELS else list(faces.labels)
    with new_folder(path) as temporary:
        if faces.labels != LABELS:
            (temporary / CLASSES_FILE).write_text("\n".join(faces.labels) + "\n", encoding="utf-8")
        for image, emotion, usage, row in zip(faces.images, faces.emotion, faces.usage, rows, strict=True):
            split = "train" if usage == TRAINING else "test"
            folder = temporary / split / names[emotion]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{USAGES[usage]}_{row}.png").write_bytes(_encode(".png", image))


def require_empty(path: Path) -> None:
    """Raise a DataError where a path is of anything but an empty folder or nothing."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise DataError("it exists already and is not an empty folder", path, "Choose another path, or remove it.")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A temporary folder that is renamed to ``path`` when the block ends well, and removed where it does not."""
    require_empty(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    outer = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}-"))
    inner = outer / path.name  # mkdtemp's own folder is private; one made inside has the usual mode
    try:
        inner.mkdir()
        yield inner
        inner.replace(path)
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def _encode(suffix: str, image: NDArray[np.uint8], *options: int) -> bytes:
    return cv2.imencode(suffix, image, options)[1].tobytes()


def _write_parquet(faces: Faces, path: Path) -> None:
    arrow, parquet = require("pyarrow", "train"), require("pyarrow.parquet", "train")
    schema = parquet_schema(arrow, faces.votes is not None, faces.labels)
    lossless = (int(cv2.IMWRITE_WEBP_QUALITY), 101)  # above 100, OpenCV writes lossless WebP
    pool = ThreadPoolExecutor()
    with atomic(path) as temporary, pool, parquet.ParquetWriter(temporary, schema) as writer:
        for start in range(0, len(faces), _BATCH):
            part = faces.take(slice(start, start + _BATCH))
            images = list(pool.map(lambda image: _encode(".webp", image, *lossless), part.images))
            writer.write_table(face_table(arrow, part, images, schema))


def face_table(arrow: Any, faces: Faces, images: list[bytes], schema: Any) -> Any:
    """Encoded images, labels, splits and votes of faces as a table of pyarrow, ``arrow``."""
    columns: dict[str, Any] = {"image": images, "emotion": faces.emotion}
    columns["usage"] = [str(USAGES[usage]) for usage in faces.usage]
    votes = {} if faces.votes is None else dict(zip(VOTES, faces.votes.T, strict=True))
    return arrow.table(columns | votes, schema=schema)


def parquet_schema(arrow: Any, votes: bool, labels: tuple[str, ...] = LABELS) -> Any:
    """The columns of mien's parquet files, classes' names included where they are one's own; ``arrow`` is pyarrow."""
    fields = [("image", arrow.binary()), ("emotion", arrow.int8())]
    fields += [("usage", arrow.dictionary(arrow.int32(), arrow.string()))]
    fields += [(name, arrow.uint8()) for name in VOTES] if votes else []
    if labels == LABELS:
        return arrow.schema(fields)
    named = {"info": {"features": {"emotion": {"names": list(labels), "_type": "ClassLabel"}}}}
    return arrow.schema(fields, {"huggingface": json.dumps(named), OWN: "1"})


def write_rows(path: str | Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file whole or not at all.

    Raises:
        OSError: where it cannot be written.
    """
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def export_examples(faces: Faces, out: str | Path, channels: int) -> list[Path]:
    """Write the first face of each class as ``<out>/examples_48_48_<channels>/<Emotion>_48_48_<channels>.png``.

    Args:
        faces: where to take the examples from; a class without a face has no file.
        out: the folder around the folder of examples; both are made where they are missing.
        channels: 1 for gray files, 3 for the same gray in three channels.

    Returns:
        The files written, in the order of the classes.

    Raises:
        DataError: where ``channels`` is neither 1 nor 3, no face has a label, or the files cannot be written.
    """
    if channels not in (1, 3):
        raise DataError(f"an image has 1 or 3 channels, not {channels}", mend="Pass --export 1 or --export 3.")
    suffix = f"48_48_{channels}"
    folder = Path(out).expanduser() / f"examples_{suffix}"
    first = {label: np.flatnonzero(faces.emotion == index)[:1] for index, label in enumerate(faces.labels)}
    found = {folder / f"{label}_{suffix}.png": faces.images[i] for label, some in first.items() for i in some}
    if not found:
        raise DataError("no face has a label", faces.name, "Choose a data set with labels.")
    try:
        for path, image in found.items():
            with atomic(path) as temporary:
                temporary.write_bytes(_encode(".png", image if channels == 1 else cv2.merge([image] * 3)))
    except OSError as error:
        raise DataError(f"it cannot be written ({error.strerror or error})", folder, "Choose another path.") from error
    return list(found)
