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

from mien.data.builder import TRAINING, Builder, first_usage, is_emotion, usage_from_word
from mien.data.classes import HINT, folder_classes
from mien.data.crops import resize_face
from mien.data.decoding import decode_gray
from mien.data.faces import SIDE
from mien.data.walk import is_image, walk_files

_BATCH = 1024
_NUMBERED = re.compile(r"(Training|PublicTest|PrivateTest|test)_(\d{1,18})")


class LabelledFile(NamedTuple):
    """An image file, with its label, split and the number in its name."""

    path: Path
    emotion: int
    usage: int
    number: int | None


def decode_face(data: bytes | Path | None) -> tuple[NDArray[np.uint8], str | None]:
    """An encoded image as a face uint8 (48, 48), gray, and the size that it had, ``96x96``; None where it was 48x48.

    Raises:
        ValueError: where the bytes are no image, or only a part of one.
    """
    gray = decode_gray(data.read_bytes() if isinstance(data, Path) else data or b"")
    height, width = gray.shape
    return resize_face(gray), None if width == height == SIDE else f"{width}x{height}"


def find_images(root: Path, unread: Counter[str] | None = None) -> list[Path]:
    """Every file below ``root`` that is an image or where only images belong, sorted by path.

    Args:
        root: the folder.
        unread: counts the files that are not read, by their suffixes.
    """
    found = walk_files(str(root), lambda folder, name: is_emotion(folder) or is_image(folder, name), unread)
    return [Path(path) for path in found]


def read_images(files: Sequence[Path], root: Path, builder: Builder) -> None:
    """Read ``root/<split>/<class>/*`` or ``root/<class>/*`` into ``builder``.

    The classes are the seven emotions, or one's own (:func:`mien.data.classes.folder_classes`).

    Rows are in the order of the numbers in the files' names (``PublicTest_28709.png``) where every file has one,
    else in the order of their paths.

    Raises:
        DataError: where the names of one's own classes cannot be used.
        BadRowError: at the first file that is no image, or in no folder of a class, unless the builder skips them.
    """
    builder.classes = folder_classes(root, {path.parent.name for path in files if path.parent != root})
    builder.hint = f"; {HINT}"
    labelled: list[LabelledFile] = []
    for path in files:
        with builder.checked(path, ""):
            labelled.append(_label(path, path.relative_to(root).parent.parts, builder))
    numbers = [file.number for file in labelled if file.number is not None]
    if len(numbers) == len(labelled):
        labelled.sort(key=lambda file: (file.number, file.path))
    unique = len(numbers) == len(labelled) == len(set(numbers))
    add_files(labelled, sorted(numbers) if unique else range(len(labelled)), builder)


def add_files(files: Sequence[LabelledFile], rows: Sequence[int], builder: Builder) -> None:
    """Decode image files into ``builder``, with a row number each.

    Raises:
        BadRowError: at the first file that is no image, unless the builder skips them.
    """
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(files), _BATCH):
            stop = min(start + _BATCH, len(files))
            decoded = [pool.submit(decode_face, file.path) for file in files[start:stop]]
            for file, row, image in zip(files[start:stop], rows[start:stop], decoded, strict=True):
                with builder.checked(file.path, ""):
                    face, size = image.result()
                    builder.append(face, file.emotion, file.usage, row)
                    builder.note_size(file.path, "", size)
            builder.tick(stop, len(files), "faces")


def _label(path: Path, folders: tuple[str, ...], builder: Builder) -> LabelledFile:
    """What the names of a file and of its folders mean."""
    if not folders:
        raise ValueError("the image is in no folder of a class")
    usage = first_usage(reversed(folders[:-1]))
    if usage is None:
        usage = usage_from_word(folders[-2]) if folders[1:] else TRAINING
    match = _NUMBERED.match(path.stem)
    if match and match[1] != "test":
        usage = usage_from_word(match[1])
    return LabelledFile(path, builder.label(folders[-1], TRAINING), usage, int(match[2]) if match else None)
