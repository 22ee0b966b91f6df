"""Image bytes and folders of images -> Faces."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien.data.builder import TRAINING, Builder, ContemptError, UnclearOrderError, is_emotion, usage_from_word
from mien.data.classes import HINT, Classes, folder_classes
from mien.data.crops import resize_face
from mien.data.decoding import decode_gray
from mien.data.faces import SIDE
from mien.data.walk import is_image, walk_files

_BATCH = 1024
_NUMBERED = re.compile(r"(Training|PublicTest|PrivateTest|test)_(\d{1,18})")


class Decoded(NamedTuple):
    """An image as a face uint8 (48, 48), gray, and the width and height in pixels that it had before."""

    face: NDArray[np.uint8]
    width: int
    height: int

    @property
    def size(self) -> str | None:
        """The size before, such as ``96x96``; None where it was 48x48 all along."""
        return None if self.width == self.height == SIDE else f"{self.width}x{self.height}"


class Placed(NamedTuple):
    """An image file, with its label, split and the number in its name."""

    path: Path
    emotion: int
    usage: int
    number: int | None


def _decode(data: bytes) -> Decoded:
    gray = decode_gray(data)
    height, width = gray.shape
    return Decoded(resize_face(gray), width, height)


def decode_all(pool: ThreadPoolExecutor, blobs: Sequence[bytes | None]) -> list[Decoded | ValueError]:
    """Decode images side by side; a bad one gives its error in place of a face."""
    return list(pool.map(_decode_or_error, blobs))


def _decode_or_error(data: bytes | None) -> Decoded | ValueError:
    try:
        return _decode(data or b"")
    except ValueError as error:
        return error


def find_images(root: Path, unread: Counter[str] | None = None) -> list[Path]:
    """Every file below ``root`` that is an image or stands where only images belong, sorted by path.

    Args:
        root: the folder.
        unread: counts the files that are not read, by the ends of their names.
    """
    found = walk_files(str(root), lambda folder, name: is_emotion(folder) or is_image(folder, name), unread)
    return [Path(path) for path in found]


def read_images(files: Sequence[Path], root: Path, builder: Builder) -> None:
    """Read ``root/<split>/<class>/*`` or ``root/<class>/*`` into ``builder``.

    The classes are the seven emotions, or one's own (:func:`mien.data.classes.folder_classes`).

    Rows stand in the order of the numbers in the files' names (``PublicTest_28709.png``) where every file has one,
    else in the order of their paths.

    Raises:
        DataError: where the names of one's own classes cannot be used.
        BadRowError: at the first file that is no image, or in no folder of a class, unless the builder skips them.
    """
    classes = folder_classes(root, {path.parent.name for path in files if path.parent != root})
    builder.labels = classes.names if classes else builder.labels
    placed = _place_all(files, root, builder, classes)
    numbers = [file.number for file in placed if file.number is not None]
    if len(numbers) == len(placed):
        placed.sort(key=lambda file: (file.number, file.path))
    unique = len(numbers) == len(placed) == len(set(numbers))
    add_files(placed, sorted(numbers) if unique else range(len(placed)), builder)


def add_files(placed: Sequence[Placed], rows: Sequence[int], builder: Builder) -> None:
    """Decode image files into ``builder``, with a row number each.

    Raises:
        BadRowError: at the first file that is no image, unless the builder skips them.
    """
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(placed), _BATCH):
            _add_batch(pool, placed[start : start + _BATCH], rows[start : start + _BATCH], builder)
            builder.tick(min(start + _BATCH, len(placed)), len(placed), "faces")


def _place_all(files: Sequence[Path], root: Path, builder: Builder, classes: Classes | None) -> list[Placed]:
    placed: list[Placed] = []
    for path in files:
        try:
            placed.append(_place(path, path.relative_to(root).parent.parts, builder, classes))
        except ValueError as error:
            builder.bad(path, "", error)
    return placed


def _place(path: Path, folders: tuple[str, ...], builder: Builder, classes: Classes | None) -> Placed:
    """What the names of a file and of its folders say about it."""
    if not folders:
        raise ValueError("the image stands in no folder named after its class")
    usage = _usage_of(folders[:-1])
    match = _NUMBERED.match(path.stem)
    if match and match[1] != "test":
        usage = usage_from_word(match[1])
    label = label_of(folders[-1], TRAINING, builder, classes)
    return Placed(path, label, usage, int(match[2]) if match else None)


def label_of(word: str, usage: int, builder: Builder, classes: Classes | None) -> int:
    """The label that the name of a folder or a word in a list means.

    Raises:
        ValueError: where it means none of the classes.
    """
    if classes is not None:
        return classes.index(word)
    try:
        return builder.label(word, usage)
    except (ContemptError, UnclearOrderError):
        raise
    except ValueError as error:
        raise ValueError(f"{error}; {HINT}") from error


def _usage_of(folders: tuple[str, ...]) -> int:
    if not folders:
        return TRAINING
    for folder in reversed(folders):
        try:
            return usage_from_word(folder)
        except ValueError:
            continue
    return usage_from_word(folders[-1])


def _add_batch(pool: ThreadPoolExecutor, batch: Sequence[Placed], rows: Sequence[int], builder: Builder) -> None:
    decoded = list(pool.map(lambda file: _decode_or_error(file.path.read_bytes()), batch))
    good: list[int] = []
    images: list[NDArray[np.uint8]] = []
    for position, image in enumerate(decoded):
        if isinstance(image, ValueError):
            builder.bad(batch[position].path, "", str(image))
        else:
            good.append(position)
            images.append(image.face)
            builder.note_size(batch[position].path, "", image.size)
    builder.add(
        np.array(images, dtype=np.uint8).reshape(-1, SIDE, SIDE),
        [batch[i].emotion for i in good],
        [batch[i].usage for i in good],
        [rows[i] for i in good],
    )
