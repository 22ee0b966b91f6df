"""The rows of a part as parquet, and what its footer tells of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mien.batch.chunks import Part
from mien.errors import printable, require
from mien.inference.results import Prediction, face_cells

MARK = b"mien"
"""The key of the footer's metadata that holds a :class:`Stamp`."""


@dataclass(frozen=True)
class ChunkMetadata:
    """What a part's footer tells.

    Attributes:
        job: the digest of the model and the settings.
        part: the part's number.
        first: its first row.
        rows: how many it has.
        input: the digest of which rows they are.
        errors: how many of them have an error.
    """

    job: str
    part: int
    first: int
    rows: int
    input: str
    errors: int


@dataclass(frozen=True)
class Scored:
    """A part, scored: its number, its counts and its file's bytes."""

    number: int
    rows: int
    errors: int
    data: bytes


def schema(labels: Sequence[str]) -> Any:
    """The columns, as a ``pyarrow.Schema``: row, uri, emotion, confidence, each class, faces, box, detection, error."""
    arrow = require("pyarrow", "score")
    whole, real, text = arrow.int32(), arrow.float64(), arrow.string()
    box = ("faces", "x", "y", "box_width", "box_height")
    columns = [("row", arrow.int64()), ("uri", text), ("emotion", text), ("confidence", real)]
    columns += [(label, real) for label in labels] + [(name, whole) for name in box]
    return arrow.schema([*columns, ("detection", real), ("error", text)])


def encode(
    part: Part, job: str, labels: Sequence[str], names: Sequence[str], predictions: Iterable[Prediction]
) -> Scored:
    """A part's parquet file: a row a picture, in order; equal rows give equal bytes.

    Args:
        part: which rows they are.
        job: the digest of the model and the settings.
        labels: the classes.
        names: the pictures' names; complete once ``predictions`` have ended.
        predictions: what the model says of them, in the same order.
    """
    arrow, parquet = require("pyarrow", "score"), require("pyarrow.parquet", "score")
    rows = [_row(one) for one in predictions]
    for number, (row, name) in enumerate(zip(rows, names, strict=True), part.first):
        row |= {"row": number, "uri": printable(name)}
    errors = sum(row["error"] is not None for row in rows)
    stamp = ChunkMetadata(job, part.number, part.first, len(rows), part.digest, errors)
    columns = schema(labels).with_metadata({MARK: json.dumps(asdict(stamp))})
    buffer = arrow.BufferOutputStream()
    parquet.write_table(arrow.Table.from_pylist(rows, schema=columns), buffer, write_page_checksum=True)
    return Scored(part.number, len(rows), errors, buffer.getvalue().to_pybytes())


def _row(one: Prediction) -> dict[str, Any]:
    """The surest face's cells; none where no face was found."""
    head = {"error": one.error, "faces": None if one.error is not None else len(one.faces)}
    return head | (face_cells(one.faces[0]) if one.faces else {})


def read_stamp(path: Path) -> ChunkMetadata | None:
    """What a part's footer tells; None where the file is damaged or no part."""
    arrow, parquet = require("pyarrow", "score"), require("pyarrow.parquet", "score")
    try:
        footer = parquet.read_metadata(path)
        stamp = ChunkMetadata(**json.loads(footer.metadata[MARK]))
    except (arrow.ArrowException, OSError, KeyError, TypeError, ValueError):
        return None
    return stamp if footer.num_rows == stamp.rows else None
