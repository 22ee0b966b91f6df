"""Kaggle's CSV layouts -> Faces: tables, also inside fer2013.tar.gz, in one pass and bounded memory."""

from __future__ import annotations

import codecs
import csv
import io
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from mien.data.builder import TRAINING, Builder, usage_from_word
from mien.data.faces import SIDE, USAGES, Usage
from mien.errors import DataError

_PIXELS = SIDE * SIDE
_BLOCK = 128
_BUFFER = 1 << 20
_PAIR = ("train.csv", "test.csv")
LABEL_COLUMNS = ("emotion", "label", "class")
"""What the column of labels may be called, in lower case; the first one is taken."""
_TABLES = ("icml_face_data.csv", "fer2013.csv")


class _Header(NamedTuple):
    delimiter: bytes
    width: int
    pixels: int
    emotion: int | None
    usage: int | None
    default: int  # the split of every row where the table has no column of splits


def read_csv(files: Sequence[Path], builder: Builder) -> None:
    """Read tables one after another into ``builder``.

    Raises:
        DataError: where a header lacks the column ``pixels``.
        BadRowError: at the first bad row, unless the builder skips them.
    """
    total = sum(path.stat().st_size for path in files)
    before, rows = 0, 0
    for path in files:
        rows += _read_file(path, builder, rows, before, total)
        before += path.stat().st_size


def _read_file(path: Path, builder: Builder, first: int, before: int, total: int) -> int:
    with path.open("rb", buffering=_BUFFER) as file:
        table = cast("io.BufferedReader", file)
        return _read_table(table, path, builder, first, lambda: builder.tick(before + file.tell(), total, "bytes"))


def read_tar(path: Path, builder: Builder) -> None:
    """Read the table inside a ``.tar.gz`` into ``builder``, without unpacking it on disk.

    Raises:
        DataError: where the archive is damaged or holds no table.
        BadRowError: at the first bad row, unless the builder skips them.
    """
    total = path.stat().st_size
    try:
        with path.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:gz") as archive:
            raw_table = cast("io.RawIOBase", _table_in(archive, path))
            table = cast("io.BufferedReader", io.BufferedReader(raw_table, _BUFFER))
            _read_table(table, path, builder, 0, lambda: builder.tick(raw.tell(), total, "bytes"))
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        what = f"the archive is damaged ({error})"
        raise DataError(what, path, "Download it again.") from error


def _table_in(archive: tarfile.TarFile, path: Path) -> IO[bytes]:
    names = {Path(member.name).name.lower(): member for member in archive.getmembers() if member.isfile()}
    for name in _TABLES:
        table = archive.extractfile(names[name]) if name in names else None
        if table is not None:
            return table
    raise DataError(f"the archive holds neither {' nor '.join(_TABLES)}", path, "Give FER2013's fer2013.tar.gz.")


def header_columns(line: bytes) -> list[str]:
    """The column names of a table's first line, in lower case and without the spaces that Kaggle's file has."""
    line = line.removeprefix(codecs.BOM_UTF8).split(b"\r")[0]
    try:
        return [column.decode("utf-8", "replace").strip().lower() for column in split_row(line, delimiter_of(line))]
    except ValueError:
        return []


def delimiter_of(header: bytes) -> bytes:
    """The delimiter of the columns: the comma, the semicolon or the tab, whichever the header has most of."""
    return max((b",", b";", b"\t"), key=header.count)


def lines_of(file: io.BufferedReader) -> Iterator[bytes]:
    """A table's lines, from its beginning; they end in a line feed, or as on old Macs in a carriage return alone."""
    head = file.peek()
    end = head.find(b"\r")
    return _old_mac_lines(file) if end >= 0 and b"\n" not in head[: end + 2] else iter(file)


def _old_mac_lines(file: io.BufferedReader) -> Iterator[bytes]:
    rest = b""
    while chunk := file.read(_BUFFER):
        *lines, rest = (rest + chunk).split(b"\r")
        yield from lines
    yield rest


def _read_table(file: io.BufferedReader, path: Path, builder: Builder, first: int, tick: Callable[[], None]) -> int:
    """Read one table whose rows are numbered from ``first``; returns how many rows it has."""
    stream = lines_of(file)
    header = _read_header(next(stream, b""), path)
    builder.is_fer2013 = header.usage is not None or path.name.lower() in _PAIR
    lines = ((number, line) for number, line in enumerate(stream, start=2) if line.strip())
    count = 0
    while block := list(islice(lines, _BLOCK)):
        _add_block(block, first + count, header, path, builder)
        count += len(block)
        tick()
    tick()
    return count


def _read_header(line: bytes, path: Path) -> _Header:
    columns = header_columns(line)
    if "pixels" not in columns:
        what = f"the header has no column pixels; it has {', '.join(columns)[:80] or 'nothing'}"
        raise DataError(what, path, "FER2013's tables have the columns emotion, Usage and pixels.")
    find = {name: position for position, name in enumerate(columns)}
    label = next((find[name] for name in LABEL_COLUMNS if name in find), None)
    usage = find.get("usage", find.get("split"))
    if label is None and usage is not None:
        raise DataError("the header has no column emotion", path, "Add the labels, 0 to 6, as the column emotion.")
    is_test = label is None or path.stem.lower().startswith("test")  # of Kaggle's train.csv and test.csv
    default = USAGES.index(Usage.TEST) if is_test else TRAINING
    return _Header(delimiter_of(line), len(columns), find["pixels"], label, usage, default)


def _read_row(line: bytes, header: _Header, builder: Builder) -> tuple[bytes, int, int]:
    """The text of a row's pixels, its label and its split."""
    fields = split_row(line, header.delimiter)
    if len(fields) != header.width:
        raise ValueError(f"it has {len(fields)} fields, the header {header.width}; the file may be cut off here")
    usage = header.default if header.usage is None else usage_from_word(fields[header.usage].decode("utf-8", "replace"))
    word = "" if header.emotion is None else fields[header.emotion].decode("utf-8", "replace")
    return fields[header.pixels].strip(), builder.label(word, usage), usage


def split_row(line: bytes, delimiter: bytes) -> list[bytes]:
    """The fields of a row.

    Raises:
        ValueError: where it is no row of a table.
    """
    if b'"' not in line:
        return line.split(delimiter)
    text = line.decode("utf-8", "replace").strip("\r\n")
    try:
        return [field.encode() for field in next(csv.reader([text], delimiter=delimiter.decode()), [])]
    except csv.Error as error:
        raise ValueError(f"it is not a row of a table ({error})") from error


def _add_block(block: list[tuple[int, bytes]], first: int, header: _Header, path: Path, builder: Builder) -> None:
    """Add lines and their numbers in one go, or one by one where a row is uneven or bad, which is then reported."""
    try:
        texts, labels, usages = zip(*(_read_row(line, header, builder) for _, line in block), strict=True)
        pixels = parse_pixels(texts)
    except ValueError:
        pixels = None
    if pixels is not None:
        builder.add(pixels, labels, usages, range(first, first + len(block)))
        return
    for row, (number, line) in enumerate(block, start=first):
        with builder.checked(path, row_name(row, number)):
            text, label, usage = _read_row(line, header, builder)
            found = parse_pixels([text])
            builder.append(parse_row(text) if found is None else found[0], label, usage, row)


def parse_pixels(texts: Sequence[bytes]) -> NDArray[np.uint8] | None:
    """Read rows of 2304 numbers in one go.

    Args:
        texts: each row's numbers, with one space between two.

    Returns:
        uint8 (n, 2304), or None where any row is not exactly 2304 numbers from 0 to 255, each set apart by one space.
    """
    text = np.frombuffer(b"  " + b" ".join(texts) + b" ", dtype=np.uint8)  # two in front, so that end - 2 exists
    space = text == ord(" ")
    digit = text - np.uint8(ord("0"))  # what is no digit wraps to 10 or more
    end = np.flatnonzero(space[2:])
    row_end = np.cumsum([len(row) + 1 for row in texts]) - 1
    if len(end) != len(texts) * _PIXELS or not np.array_equal(end[_PIXELS - 1 :: _PIXELS], row_end):
        return None
    gap = end[1:] - end[:-1]
    is_odd = end[0] not in (1, 2, 3) or gap.min() < 2 or gap.max() > 4
    if is_odd or np.count_nonzero(digit > 9) != np.count_nonzero(space):
        return None
    digit *= ~space
    hundreds = (digit[:-2] * ~space[1:-1])[end - 1]
    rest = (digit[1:-1] * np.uint8(10) + digit[2:])[end - 1]
    if ((hundreds > 2) | ((hundreds == 2) & (rest > 55))).any():
        return None
    pixels: NDArray[np.uint8] = hundreds * np.uint8(100) + rest
    return pixels.reshape(len(texts), _PIXELS)


def parse_row(text: bytes) -> NDArray[np.uint8]:
    """Read one row's 2304 numbers; separated by any white space.

    Returns:
        uint8 (2304,).

    Raises:
        ValueError: where there are more or fewer, or one of them is not a whole number from 0 to 255.
    """
    words = text.split()
    if len(words) != _PIXELS:
        raise ValueError(f"it has {len(words)} pixels, not {_PIXELS} (48 x 48)")
    for position, word in enumerate(words, start=1):
        if not (word.isdigit() and len(word) < 10 and int(word) < 256):
            shown = word[:20].decode("utf-8", "replace")
            raise ValueError(f"pixel {position} is {shown!r}, not a whole number from 0 to 255")
    return np.array([int(word) for word in words], dtype=np.uint8)


def row_name(number: int, line: int) -> str:
    """What errors call a row: its number among the rows, counted from 1, and the line of the file."""
    return f"data row {number + 1} (line {line})"
