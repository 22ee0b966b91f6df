"""The rows of a chunk as parquet, and what its footer says of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mien.batch.chunks import Chunk
from mien.errors import printable, require
from mien.inference.results import Prediction, face_cells

KEY = b"mien"
"""The key of the footer's metadata that holds a :class:`ChunkMetadata`."""


@dataclass(frozen=True)
class ChunkMetadata:
    """What a chunk's footer says.

    Attributes:
        job: the digest of the model and the settings.
        number: the chunk's.
        first: its first row.
        rows: how many it has.
        input: the digest of which rows they are.
        errors: how many of them have an error.
    """

    job: str
    number: int
    first: int
    rows: int
    input: str
    errors: int


@dataclass(frozen=True)
class Scored:
    """A chunk, scored: its number, its counts and its file's bytes."""

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


def encode(chunk: Chunk, job: str, labels: Sequence[str], predictions: Iterable[tuple[Prediction, str]]) -> Scored:
    """A chunk's parquet file: a row an image, in order; equal rows give equal bytes.

    Args:
        chunk: which rows they are.
        job: the digest of the model and the settings.
        labels: the classes.
        predictions: each image's prediction and name, in order.
    """
    arrow, parquet = require("pyarrow", "score"), require("pyarrow.parquet", "score")
    rows = [
        {"row": row, "uri": printable(name)} | _cells(one) for row, (one, name) in enumerate(predictions, chunk.first)
    ]
    errors = sum(row["error"] is not None for row in rows)
    metadata = ChunkMetadata(job, chunk.number, chunk.first, len(rows), chunk.digest, errors)
    columns = schema(labels).with_metadata({KEY: json.dumps(asdict(metadata))})
    buffer = arrow.BufferOutputStream()
    parquet.write_table(arrow.Table.from_pylist(rows, schema=columns), buffer, write_page_checksum=True)
    return Scored(chunk.number, len(rows), errors, buffer.getvalue().to_pybytes())


def _cells(one: Prediction) -> dict[str, Any]:
    """The cells of the face that the detector is most certain of; none where no face was found."""
    head = {"error": one.error, "faces": None if one.error is not None else len(one.faces)}
    return head | (face_cells(one.faces[0]) if one.faces else {})


def read_metadata(path: Path) -> ChunkMetadata | None:
    """What a chunk's footer says; None where the file is missing, damaged or no chunk."""
    arrow, parquet = require("pyarrow", "score"), require("pyarrow.parquet", "score")
    try:
        footer = parquet.read_metadata(path)
        found = ChunkMetadata(**json.loads(footer.metadata[KEY]))
    except (arrow.ArrowException, OSError, KeyError, TypeError, ValueError):
        return None
    return found if footer.num_rows == found.rows else None
