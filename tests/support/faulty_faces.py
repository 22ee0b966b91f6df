"""Faces with known faults, for the tests of the data check."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


def textures(n: int, seed: int) -> NDArray[np.uint8]:
    """uint8 (n, 48, 48): blurred noise, no two alike, as smooth as photos of faces."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((n, 60, 60)).astype(np.float32)
    smooth = np.stack([cv2.GaussianBlur(one, (0, 0), 4)[6:54, 6:54] for one in noise])
    smooth /= np.abs(smooth).max(axis=(1, 2), keepdims=True)
    grain = rng.standard_normal(smooth.shape) * 4
    return (128 + 100 * smooth + grain).clip(0, 255).astype(np.uint8)


def shifted(image: Image, rng: np.random.Generator) -> Image:
    """Moved by 1 to 3 pixels each way, the border repeated."""
    right, down = rng.integers(1, 4, 2) * rng.choice([-1, 1], 2)
    move = np.array([[1, 0, right], [0, 1, down]], np.float32)
    moved = cv2.warpAffine(image, move, (48, 48), borderMode=cv2.BORDER_REPLICATE)
    return moved.astype(np.uint8)


def reencoded(image: Image, rng: np.random.Generator) -> Image:
    """JPEG of quality 50 to 90."""
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 91))])[1]
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE), np.uint8)


def mirrored(image: Image, rng: np.random.Generator) -> Image:
    return np.ascontiguousarray(image[:, ::-1])


def brighter(image: Image, rng: np.random.Generator) -> Image:
    """Another contrast and brightness; some pixels are clipped."""
    changed = image * rng.uniform(0.7, 1.3) + rng.uniform(-40, 40)
    return changed.clip(0, 255).astype(np.uint8)


def everything(image: Image, rng: np.random.Generator) -> Image:
    """All of these at once."""
    return mirrored(brighter(reencoded(shifted(image, rng), rng), rng), rng)


CHANGES = {
    "shifted": shifted,
    "re-encoded": reencoded,
    "mirrored": mirrored,
    "brighter or darker": brighter,
    "all at once": everything,
}
