"""Strict reading of tables in CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from mien.errors import BadRowError, DataError


def read_text(path: Path, mend: str) -> str:
    """A file in UTF-8.

    Raises:
        DataError: where it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("it is not text in UTF-8", path, mend) from error
    except OSError as error:
        raise DataError(f"it cannot be read ({error.strerror})", path, "Name an existing file.") from error


def table_rows(text: str, path: Path, mend: str) -> Iterator[tuple[int, list[str]]]:
    """The header and each row that is not empty, with the number of the line that it ends on.

    Raises:
        BadRowError: where a row is malformed, or has not as many fields as the header.
    """
    reader, width = csv.reader(io.StringIO(text, newline=""), strict=True), 0
    try:
        for values in reader:
            width = width or len(values)
            if values and len(values) != width:
                what = f"line {reader.line_num}: it has {len(values)} fields, the header {width}"
                raise BadRowError(what, path, mend)
            if values:
                yield reader.line_num, values
    except csv.Error as error:
        raise BadRowError(f"line {reader.line_num}: it is not a row of a table ({error})", path, mend) from error
