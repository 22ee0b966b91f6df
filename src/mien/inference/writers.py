"""Predictions as CSV and parquet tables, one row per face, and annotated copies of images."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from mien._utils.files import atomic, protect
from mien.data.decoding import MAX_PIXELS, LoadedImage, Source, read_image
from mien.emotions import class_color
from mien.errors import require
from mien.inference.results import Face, Prediction

Writer = Callable[[Prediction], None]
_GROUP = 10_000
_GRAY = "#8a8d91"
_KINDS = {
    **dict.fromkeys(("width", "height", "face", "faces", "x", "y", "box_width", "box_height", "track"), "int32"),
    **dict.fromkeys(("path", "emotion", "error"), "string"),
    "frame": "int64",
    "processed": "bool_",
}
"""The columns that are not float64, with pyarrow's names of their types."""


def columns(labels: Sequence[str]) -> list[str]:
    """The names of a row's cells, in order."""
    return list(Prediction("", 0, 0).to_rows(labels)[0])


@contextmanager
def csv_writer(path: Path, labels: Sequence[str]) -> Iterator[Writer]:
    """A CSV file with a row a face, which appears whole when the block ends well."""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns(labels))
        writer.writeheader()
        yield lambda one: writer.writerows(one.to_rows(labels))


@contextmanager
def parquet_writer(path: Path, labels: Sequence[str]) -> Iterator[Writer]:
    """A parquet file with a row a face, which appears whole when the block ends well; rows are written in groups.

    Raises:
        MissingExtraError: where pyarrow is not installed.
    """
    with atomic(path) as temporary, parquet_rows(temporary, columns(labels)) as add:
        yield lambda one: add(one.to_rows(labels))


@contextmanager
def parquet_rows(path: Path, names: Sequence[str]) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
    """A parquet file for rows with cells of these names, written in groups; it is whole however the block ends.

    Raises:
        MissingExtraError: where pyarrow is not installed.
        OSError: where it cannot be written; no file is left then.
    """
    arrow, parquet = require("pyarrow", "parquet"), require("pyarrow.parquet", "parquet")
    schema = arrow.schema([(name, getattr(arrow, _KINDS.get(name, "float64"))()) for name in names])
    buffered: list[dict[str, Any]] = []

    def flush() -> None:
        writer.write_table(arrow.Table.from_pylist(buffered, schema=schema))
        buffered.clear()

    def add(rows: list[dict[str, Any]]) -> None:
        buffered.extend(rows)
        if len(buffered) >= _GROUP:
            flush()

    writer = parquet.ParquetWriter(path, schema)
    try:
        yield add
    finally:
        try:
            flush()
            writer.close()
        except OSError:
            path.unlink(missing_ok=True)
            raise


def annotate(source: Source, prediction: Prediction, out: Path, max_pixels: int = MAX_PIXELS) -> None:
    """Write a copy of an image with a box and a label for every face.

    Args:
        source: the image.
        prediction: what was found in it.
        out: the file; its suffix is the format (``.png``, ``.jpg``).
        max_pixels: as that of :func:`mien.data.decoding.read_image`.

    Raises:
        ImageError: where the image can no longer be read.
        DataError: where ``out`` is the image itself.
    """
    protect([out], [source if isinstance(source, str | Path) else None])
    image = with_boxes(read_image(source, max_pixels=max_pixels), prediction)
    with atomic(out) as temporary:
        image.save(temporary, quality=92) if out.suffix == ".jpg" else image.save(temporary)


def with_boxes(loaded: LoadedImage, prediction: Prediction) -> Image.Image:
    """A copy of an image, RGB, with a box and a label for every face."""
    image = Image.fromarray(loaded.pixels)
    draw_faces(image, [(face, "") for face in prediction.faces], loaded.zoom)
    return image


def draw_faces(image: Image.Image, faces: Iterable[tuple[Face, str]], zoom: tuple[float, float] = (1.0, 1.0)) -> None:
    """Draw a box and a label for every face, into the image.

    Args:
        image: the image, RGB.
        faces: each with a text that its label starts with.
        zoom: how many pixels of the boxes one pixel of the image is, across and down.
    """
    pen = ImageDraw.Draw(image)
    size = max(11, round(min(image.size) / 32))
    across, down = zoom
    for face, name in faces:
        left, top, width, height = face.box
        box = (left / across, top / down, (left + width) / across, (top + height) / down)
        _frame(pen, box, face, name, size, image.size)


def _frame(
    pen: ImageDraw.ImageDraw,
    box: tuple[float, float, float, float],
    face: Face,
    name: str,
    size: int,
    whole: tuple[int, int],
) -> None:
    """A rounded frame in the emotion's colour with a dark rim, and a label above it, or below where it must."""
    colour, line = _colour(face), max(2, size // 6)
    pen.rounded_rectangle(box, radius=size / 2, outline="#000000", width=line + 2)
    inner = (box[0] + 1, box[1] + 1, max(box[0] + 1, box[2] - 1), max(box[1] + 1, box[3] - 1))
    pen.rounded_rectangle(inner, radius=size / 2, outline=colour, width=line)
    font = _font(size)
    text = f"{name}{face.emotion} {face.confidence:.0%}"
    wide, high = pen.textlength(text, font) + size, size * 1.5
    left = min(max(0.0, box[0]), max(0.0, whole[0] - wide))
    top = box[1] - high - 2 if box[1] - high - 2 >= 0 else min(box[3] + 2, whole[1] - high)
    pen.rounded_rectangle((left, top, left + wide, top + high), radius=size / 3, fill=colour, outline="#000000")
    pen.text((left + wide / 2, top + high / 2), text, fill=_ink(colour), font=font, anchor="mm")


@lru_cache(maxsize=4)
def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Pillow reads its font anew at each call, which would take longer than all else that a video's frame needs."""
    return ImageFont.load_default(size)


def _colour(face: Face) -> str:
    """The class's colour; gray where it is uncertain."""
    names = list(face.probabilities)
    return class_color(face.emotion, names.index(face.emotion)) if face.emotion in names else _GRAY


def _ink(colour: str) -> str:
    """Black or white, whichever stands out more from a colour (ITU-R BT.601 luma)."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#ffffff"
