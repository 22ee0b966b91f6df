"""A CSV of image paths and labels -> Faces."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from mien.data.builder import TRAINING, Builder, usage_from_word
from mien.data.classes import CLASSES_FILE, HINT, folder_classes
from mien.data.readers.csv_files import LABEL_COLUMNS, delimiter_of, header_columns, lines_of, row_name, split_row
from mien.data.readers.images import LabelledFile, add_files

_PATHS = ("path", "image", "file", "filename")
_SPLITS = ("usage", "split")


class Listed(NamedTuple):
    """A row: its number from 0, its line in the file, its fields, and what is wrong with it, if anything."""

    number: int
    line: int
    path: Path
    label: str
    split: str | None
    fault: str = ""


def is_list(columns: list[str]) -> bool:
    """Whether a table with these columns lists images and their labels."""
    return "pixels" not in columns and all(_column(columns, names) is not None for names in (_PATHS, LABEL_COLUMNS))


def _column(columns: list[str], names: tuple[str, ...]) -> int | None:
    return next((columns.index(name) for name in names if name in columns), None)


def read_rows(path: Path) -> list[Listed]:
    """The rows of a list; its paths are relative to its folder."""
    with path.open("rb") as file:
        lines = lines_of(file)
        header = next(lines)
        rows: list[Listed] = []
        for number, line in enumerate(lines, start=2):
            if line.strip():
                rows.append(_read_row(line, header, path.parent, len(rows), number))
    return rows


def _read_row(line: bytes, header: bytes, folder: Path, number: int, line_number: int) -> Listed:
    columns, nothing = header_columns(header), Listed(number, line_number, folder, "", None)
    try:
        fields = [field.decode("utf-8", "surrogateescape").strip() for field in split_row(line, delimiter_of(header))]
    except ValueError as error:
        return nothing._replace(fault=str(error))
    if len(fields) != len(columns):
        return nothing._replace(fault=f"it has {len(fields)} fields, the header {len(columns)}")
    name, label, split = (
        None if index is None else fields[index]
        for index in (_column(columns, names) for names in (_PATHS, LABEL_COLUMNS, _SPLITS))
    )
    image = folder / (name or "")
    fault = "" if image.is_file() else f"there is no such file: {name or '(no name)'}"
    return Listed(number, line_number, image, label or "", split, fault)


def files_of(rows: list[Listed], path: Path) -> list[Path]:
    """Every file that the faces depend on."""
    listed = path.parent / CLASSES_FILE
    images = dict.fromkeys(row.path for row in rows if not row.fault)
    return [path, *images, *([listed] if listed.is_file() else [])]


def read_list(rows: list[Listed], path: Path, builder: Builder) -> None:
    """Read the images of a list into ``builder``.

    The classes are the seven emotions, or one's own (:func:`mien.data.classes.folder_classes`).

    Raises:
        DataError: where the names of one's own classes cannot be used.
        BadRowError: at the first bad row or image, unless the builder skips them.
    """
    words = {row.label for row in rows if row.label.lower() not in ("", "-1", "nan")}
    builder.classes, builder.hint = folder_classes(path.parent, words), f"; {HINT}"
    labelled: list[LabelledFile] = []
    numbers: list[int] = []
    for row in rows:
        with builder.checked(path, row_name(row.number, row.line)):
            if row.fault:
                raise ValueError(row.fault)
            usage = TRAINING if row.split is None else usage_from_word(row.split)
            labelled.append(LabelledFile(row.path, builder.label(row.label, usage), usage, None))
            numbers.append(row.number)
    add_files(labelled, numbers, builder)
