"""Photos in folders -> a data set of faces in FER2013's framing, a table of every photo, and an image grid."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from mien._utils.files import atomic, protect
from mien.data.builder import Progress
from mien.data.classes import CLASSES_FILE
from mien.data.faces import SIDE
from mien.data.walk import no_images, walk_files
from mien.data.writers import new_folder, write_rows
from mien.errors import DataError, printable
from mien.inference.predictor import Box, Predictor

_MEND = "Name a folder with a folder of photos for each class."
NO_FACE = "no face was detected"
_HEADER = ("path", "width", "height", "faces", "x", "y", "box_width", "box_height", "detection", "crop", "reason")
_COLUMNS, _ROWS, _SECTIONS = 12, 2, 40
_TILE, _GAP, _CAPTION, _TITLE = 2 * SIDE, 8, 28, 34
"""Of the image grid: pixels."""


@dataclass(frozen=True, slots=True)
class PhotoRow:
    """A row of the table: a face that was cropped, or a photo that gave none.

    Attributes:
        path: the photo, below the folder of the photos.
        size: the upright photo's width and height, in pixels; None where it could not be read.
        faces: how many faces were detected in the photo.
        box: of the face that was cropped: left, top, width, height, in pixels; None without one.
        detection: the detector's confidence in it, 0 to 1; None without one.
        crop: its file, below the folder that was written; None without one.
        reason: why there is no crop; empty with one.
    """

    path: Path
    size: tuple[int, int] | None
    faces: int = 0
    box: Box | None = None
    detection: float | None = None
    crop: Path | None = None
    reason: str = ""

    def cells(self) -> list[object]:
        """The row in the CSV file; what does not apply is empty."""
        place, names = self.box or ("",) * 4, [printable(str(self.path)), printable(str(self.crop or ""))]
        confidence = "" if self.detection is None else f"{self.detection:.4f}"
        return [names[0], *(self.size or ("", "")), self.faces, *place, confidence, names[1], self.reason]


@dataclass(frozen=True)
class PhotoCrops:
    """What :func:`crop_photos` wrote.

    Attributes:
        files: the folder of the faces, the table, and the image grid.
        rows: the table's rows, in the order of the photos' paths.
        unread: files among the photos that are no images, counted by suffix.
    """

    files: tuple[Path, Path, Path]
    rows: tuple[PhotoRow, ...]
    unread: Counter[str]

    def to_dict(self) -> dict[str, Any]:
        """The counts, in all and by folder, ready for JSON."""
        folders: dict[str, list[PhotoRow]] = {}
        for row in self.rows:
            folders.setdefault(printable(row.path.parent.as_posix()), []).append(row)
        by_folder = {name: _counts(rows) for name, rows in folders.items()}
        return _counts(self.rows) | {"folders": by_folder, "unread": self.unread, "files": [*map(str, self.files)]}


def _counts(rows: Sequence[PhotoRow]) -> dict[str, int]:
    return {
        "photos": len({row.path for row in rows}),
        "with_face": len({row.path for row in rows if row.crop}),
        "crops": sum(row.crop is not None for row in rows),
        "without_face": sum(row.reason.startswith(NO_FACE) for row in rows),
        "unreadable": sum(row.size is None for row in rows),
    }


def crop_photos(
    photos: str | Path,
    out: str | Path,
    predictor: Predictor | None = None,
    all_faces: bool = False,
    progress: Progress | None = None,
) -> PhotoCrops:
    """Make a data set from folders of ordinary photos: the faces that prediction would crop, in the same folders.

    Beside the folder ``out`` are written ``<out>-photos.csv``, a row for every photo (with ``all_faces`` for every
    face), and ``<out>-grid.png``, of each folder the faces with the least confidence. The folder takes its name last.

    Args:
        photos: ``<class>/*`` or ``<split>/<class>/*``, as :func:`mien.load_faces` takes them; a ``classes.txt`` in it
            is copied.
        out: a new or empty folder outside of ``photos``, for gray PNG files of 48x48 pixels.
        predictor: detects the faces; its model is not used.
        all_faces: crop every face of a photo instead of the largest.
        progress: called after each photo.

    Raises:
        DataError: where ``photos`` cannot be read or holds no image, no face was detected at all, or an output would
            replace an input.
        OSError: where an output cannot be written.
    """
    root, out, unread = Path(photos).expanduser(), Path(out).expanduser(), Counter[str]()
    paths = _find_photos(root, unread)
    table, grid = (out.with_name(f"{out.name}-{name}") for name in ("photos.csv", "grid.png"))
    protect([out, table, grid], [root, *paths])
    if out.resolve().is_relative_to(root.resolve()):
        raise DataError("the output would lie inside the input", out, "Name a place outside of it.")
    if (stray := next((path for path in paths if path.parent == root), None)) is not None:
        raise DataError("the photo is in no folder of a class", stray, _MEND)
    predictor = predictor or Predictor()
    rows: list[PhotoRow] = []
    with new_folder(out) as folder:
        for number, path in enumerate(paths, start=1):
            rows += _crop(path, root, folder, predictor, all_faces)
            if progress is not None:
                progress(number, len(paths), "photos")
        if not any(row.crop for row in rows):
            what = f"no face in any of {len(paths):,} photos, the first: {rows[0].reason}"
            raise DataError(what, root, "Set min_face (--min-face), or choose another detector.")
        _copy_classes(rows, root, folder)
        write_rows(table, _HEADER, (row.cells() for row in rows))
        with atomic(grid) as temporary:
            _draw_grid(rows, folder).save(temporary)
    return PhotoCrops((out, table, grid), tuple(rows), unread)


def _find_photos(root: Path, unread: Counter[str]) -> list[Path]:
    paths = [Path(path) for path in walk_files(str(root), unread=unread)]
    unread -= Counter({Path(CLASSES_FILE).suffix: int((root / CLASSES_FILE).is_file())})
    if not paths:
        raise no_images(root, unread, _MEND)
    return paths


def _crop(path: Path, root: Path, folder: Path, predictor: Predictor, all_faces: bool) -> Iterator[PhotoRow]:
    """Write the faces of a photo, the largest first; give a row for each, or one for none."""
    below, detected = path.relative_to(root), predictor.detect(path)
    size = None if detected.width is None or detected.height is None else (detected.width, detected.height)
    found = list(zip(detected.found, detected.crops, strict=True))
    found.sort(key=lambda one: -one[0][0][2] * one[0][0][3])
    if not found:
        reason = detected.error or "; ".join(filter(None, (NO_FACE, detected.note)))
        yield PhotoRow(below, size, reason=reason)
    for (box, score), pixels in found if all_faces else found[:1]:
        crop = _new_file(folder / below)
        Image.fromarray(pixels).save(crop)
        yield PhotoRow(below, size, len(found), box, score, crop.relative_to(folder))


def _new_file(photo: Path) -> Path:
    """The PNG file with a photo's name; where another one has it, with the next free number."""
    photo.parent.mkdir(parents=True, exist_ok=True)
    names = chain([photo.stem], (f"{photo.stem}-{number}" for number in count(2)))
    return next(path for name in names if not (path := photo.with_name(f"{name}.png")).exists())


def _copy_classes(rows: Sequence[PhotoRow], root: Path, folder: Path) -> None:
    for parent in {parent for row in rows if row.crop for parent in row.crop.parents}:
        if (root / parent / CLASSES_FILE).is_file():
            shutil.copyfile(root / parent / CLASSES_FILE, folder / parent / CLASSES_FILE)


def _draw_grid(rows: Sequence[PhotoRow], folder: Path) -> Image.Image:
    """Of each folder a title and the crops that the detector is least sure of: false finds stand first."""
    sections: dict[Path, list[PhotoRow]] = {}
    for row in rows:
        if row.crop is not None:
            sections.setdefault(row.crop.parent, []).append(row)
    shown = list(sections.items())[:_SECTIONS]
    width = _COLUMNS * (_TILE + _GAP) + _GAP
    heights = [_TITLE + _lines(faces) * (_TILE + _CAPTION + _GAP) for _, faces in shown]
    grid = Image.new("L", (width, sum(heights) + _GAP), "white")
    top = 0
    for (name, faces), height in zip(shown, heights, strict=True):
        _draw_section(grid, top, printable(name.as_posix()), faces, folder)
        top += height
    return grid


def _lines(faces: Sequence[PhotoRow]) -> int:
    return min(_ROWS, -(-len(faces) // _COLUMNS))


def _draw_section(grid: Image.Image, top: int, name: str, faces: Sequence[PhotoRow], folder: Path) -> None:
    pen, title, small = ImageDraw.Draw(grid), ImageFont.load_default(18), ImageFont.load_default(12)
    least = sorted(faces, key=lambda row: row.detection or 0.0)[: _COLUMNS * _ROWS]
    which = f", the {len(least)} with the least confidence" if len(least) < len(faces) else ""
    pen.text((_GAP, top + _TITLE - 6), f"{name}: {len(faces):,} face{'s' * (len(faces) > 1)}{which}", 0, title, "ls")
    for place, row in enumerate(least):
        down, across = divmod(place, _COLUMNS)
        x, y = _GAP + across * (_TILE + _GAP), top + _TITLE + down * (_TILE + _CAPTION + _GAP)
        with Image.open(folder / str(row.crop)) as crop:
            grid.paste(crop.resize((_TILE, _TILE), Image.Resampling.BICUBIC), (x, y))
        name = printable(row.path.stem)
        cut = name
        while pen.textlength(cut, small) > _TILE:  # names often differ only at their ends
            name = name[: len(name) // 2] + name[len(name) // 2 + 1 :]
            cut = f"{name[: len(name) // 2]}…{name[len(name) // 2 :]}"
        confidence = "" if row.detection is None else f"{row.detection:.2f}"
        pen.text((x, y + _TILE + 3), f"{cut}\n{confidence}", 60, small, spacing=1)
