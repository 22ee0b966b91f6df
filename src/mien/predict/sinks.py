"""Where predictions go besides the screen: CSV and parquet, a row a face, and annotated copies."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from mien.emotions import Emotion
from mien.errors import require
from mien.files import atomic
from mien.predict.images import MAX_PIXELS, Picture, Source, read_picture
from mien.predict.results import Face, Prediction

Sink = Callable[[Prediction], None]
_GROUP = 10_000
_GRAY = "#8a8d91"


def columns(labels: Sequence[str]) -> list[str]:
    """The names of a row's cells, in order."""
    return list(Prediction("", 0, 0).to_rows(labels)[0])


@contextmanager
def csv_sink(path: Path, labels: Sequence[str]) -> Iterator[Sink]:
    """A CSV file with a row a face, which appears whole when the block ends well."""
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns(labels))
        writer.writeheader()
        yield lambda one: writer.writerows(one.to_rows(labels))


@contextmanager
def parquet_sink(path: Path, labels: Sequence[str]) -> Iterator[Sink]:
    """A parquet file with a row a face, which appears whole when the block ends well; rows are written in groups.

    Raises:
        MissingExtraError: where pyarrow is not installed.
    """
    arrow, parquet = require("pyarrow", "parquet"), require("pyarrow.parquet", "parquet")
    schema = _schema(arrow, labels)
    waiting: list[dict[str, Any]] = []
    with atomic(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:

        def flush() -> None:
            writer.write_table(arrow.Table.from_pylist(waiting, schema=schema))
            waiting.clear()

        def add(one: Prediction) -> None:
            waiting.extend(one.to_rows(labels))
            if len(waiting) >= _GROUP:
                flush()

        yield add
        flush()


def _schema(arrow: Any, labels: Sequence[str]) -> Any:
    whole = {"width", "height", "face", "x", "y", "box_width", "box_height"}
    text = {"path", "emotion", "error"}
    kinds = [
        (name, arrow.int32() if name in whole else arrow.string() if name in text else arrow.float64())
        for name in columns(labels)
    ]
    return arrow.schema(kinds)


def annotate(source: Source, prediction: Prediction, out: Path, max_pixels: int = MAX_PIXELS) -> None:
    """Write a copy of a picture with a frame and a label around every face.

    Args:
        source: the picture.
        prediction: what was found in it.
        out: the file; its suffix says which kind (``.png``, ``.jpg``).
        max_pixels: as that of :func:`mien.predict.images.read_picture`.

    Raises:
        ImageError: where the picture can no longer be read.
    """
    image = draw_faces(read_picture(source, max_pixels=max_pixels), prediction)
    with atomic(out) as temporary:
        image.save(temporary, quality=92) if out.suffix == ".jpg" else image.save(temporary)


def draw_faces(picture: Picture, prediction: Prediction) -> Image.Image:
    """A copy of a picture, RGB, with a frame and a label around every face."""
    across, down = picture.zoom
    image = Image.fromarray(picture.pixels)
    pen = ImageDraw.Draw(image)
    size = max(11, round(min(image.size) / 32))
    for face in prediction.faces:
        left, top, width, height = face.box
        box = (left / across, top / down, (left + width) / across, (top + height) / down)
        _frame(pen, box, face, size, image.size)
    return image


def _frame(
    pen: ImageDraw.ImageDraw, box: tuple[float, float, float, float], face: Face, size: int, whole: tuple[int, int]
) -> None:
    """A rounded frame in the emotion's colour with a dark rim, and a label above it, or below where it must."""
    colour, line = _colour(face), max(2, size // 6)
    pen.rounded_rectangle(box, radius=size / 2, outline="#000000", width=line + 2)
    inner = (box[0] + 1, box[1] + 1, max(box[0] + 1, box[2] - 1), max(box[1] + 1, box[3] - 1))
    pen.rounded_rectangle(inner, radius=size / 2, outline=colour, width=line)
    font = ImageFont.load_default(size)
    text = f"{face.emotion} {face.confidence:.0%}"
    wide, high = pen.textlength(text, font) + size, size * 1.5
    left = min(max(0.0, box[0]), max(0.0, whole[0] - wide))
    top = box[1] - high - 2 if box[1] - high - 2 >= 0 else min(box[3] + 2, whole[1] - high)
    pen.rounded_rectangle((left, top, left + wide, top + high), radius=size / 3, fill=colour, outline="#000000")
    pen.text((left + wide / 2, top + high / 2), text, fill=_ink(colour), font=font, anchor="mm")


def _colour(face: Face) -> str:
    try:
        return Emotion.from_word(face.emotion).color
    except ValueError:  # uncertain, or a class of the user's own
        return _GRAY


def _ink(colour: str) -> str:
    """Black or white, whichever stands out more from a colour (ITU-R BT.601 luma)."""
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return "#000000" if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "#ffffff"
