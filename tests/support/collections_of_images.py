"""What the tests of scoring share: a small collection with unreadable images in it, and its scores read back."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from mien.inference import Prediction, Predictor

BAD = {5: b"", 100: b"dear diary", 333: b"\x89PNG\r\n\x1a\n half a header"}
"""The rows of :func:`images` that cannot be read."""
BATCH, CHUNK = 16, 32


def images(count: int) -> list[bytes]:
    """Faces of noise as PNG, no two alike, with a few broken files among them."""
    rng = np.random.default_rng(11)
    found = []
    for row in range(count):
        buffer = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (48, 48), dtype=np.uint8)).save(buffer, "PNG", compress_level=1)
        found.append(BAD.get(row, buffer.getvalue()))
    return found


def write_images(file: Path, blobs: Sequence[bytes | None], group: int = 100, **columns: Sequence[Any]) -> Path:
    """A parquet file with a column of images, and others."""
    file.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"image": pa.array(blobs, pa.binary()), **columns})
    pq.write_table(table, file, row_group_size=group)
    return file


def rows_of(out: Path) -> list[dict[str, Any]]:
    """The scores in a folder or file, in the order of its files."""
    files = sorted(out.glob("part-*.parquet")) if out.is_dir() else [out]
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def expected(model: str, names: Sequence[str], blobs: Sequence[bytes]) -> list[dict[str, Any]]:
    """The rows that the plain predictor gives."""
    predictor = Predictor(model, 1, "none", batch=BATCH)
    found = enumerate(zip(names, predictor.stream(blobs), strict=True))
    return [as_row(number, name, one, predictor.labels) for number, (name, one) in found]


def as_row(number: int, name: str, one: Prediction, labels: Sequence[str]) -> dict[str, Any]:
    """A prediction as a row of scores."""
    face = one.faces[0] if one.faces else None
    head: dict[str, Any] = {"row": number, "uri": name}
    head |= {"emotion": face and face.emotion, "confidence": face and face.confidence}
    head |= {label: face and face.probabilities[label] for label in labels}
    head |= {"faces": None if one.error is not None else len(one.faces)}
    head |= {name: face and face.box[number] for number, name in enumerate(("x", "y", "box_width", "box_height"))}
    return head | {"detection": face and face.detection, "error": one.error}


def bytes_of(folder: Path) -> dict[str, bytes]:
    """Every chunk's bytes by its name."""
    return {path.name: path.read_bytes() for path in sorted(folder.glob("part-*.parquet"))}
