"""Drawn faces under other names than the seven emotions, as folders of images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.data.synthetic import draw_faces
from mien.emotions import Emotion

EXPRESSIONS = (Emotion.NEUTRAL, Emotion.HAPPY, Emotion.SURPRISE, Emotion.ANGRY, Emotion.SAD)
"""The expressions drawn for classes of one's own; further classes are the same, turned upside down."""


def draw_own(names: Sequence[str], each: int, seed: int = 3) -> dict[str, list[NDArray[np.uint8]]]:
    """So many drawn faces, uint8 (48, 48), of every class."""
    drawn = draw_faces(12 * each, seed=seed)
    own = {}
    for i, name in enumerate(names):
        images = drawn.images[drawn.emotion == EXPRESSIONS[i % len(EXPRESSIONS)]][:each]
        assert len(images) == each
        own[name] = [np.ascontiguousarray(image[::-1] if i >= len(EXPRESSIONS) else image) for image in images]
    return own


def put_image(path: Path, image: NDArray[np.uint8], form: str = "L", size: tuple[int, int] | None = None) -> None:
    """Write a face, uint8 (48, 48), as an image of another mode or size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    converted = Image.fromarray(image).convert(form)
    (converted if size is None else converted.resize(size)).save(path)


def put_own(root: Path, own: Mapping[str, Sequence[NDArray[np.uint8]]]) -> None:
    """Write ``root/<class>/<number>.png``."""
    for name, images in own.items():
        for number, image in enumerate(images):
            put_image(root / name / f"{number:03}.png", image)
