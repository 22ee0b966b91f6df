"""Gray faces of 48x48 from pixels: the one crop and the one resize of training, evaluation, prediction and export."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.data.faces import SIDE


def resize_face(gray: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Bring a gray image, uint8 (H, W), to uint8 (48, 48): averaged over areas where it shrinks, else linear."""
    height, width = gray.shape
    if width == SIDE and height == SIDE:
        return gray
    way = cv2.INTER_AREA if height >= SIDE and width >= SIDE else cv2.INTER_LINEAR
    return cast("NDArray[np.uint8]", cv2.resize(gray, (SIDE, SIDE), interpolation=way))


def to_gray(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB uint8 (H, W, 3) to gray uint8 (H, W); gray pixels keep their value exactly."""
    return cast("NDArray[np.uint8]", cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY))


def crop_face(pixels: NDArray[np.uint8], box: tuple[float, float, float, float]) -> NDArray[np.uint8]:
    """The face in a box as the network's input; what lies outside of the image repeats its edge.

    Args:
        pixels: RGB uint8 (H, W, 3).
        box: left, top, width and height in pixels; may reach beyond the image.

    Returns:
        gray uint8 (48, 48).
    """
    height, width = pixels.shape[:2]
    left, top = round(box[0]), round(box[1])
    right, bottom = max(left + 1, round(box[0] + box[2])), max(top + 1, round(box[1] + box[3]))
    x0, x1 = np.clip((left, right), 0, width)
    y0, y1 = np.clip((top, bottom), 0, height)
    # A box wholly outside would leave nothing to repeat.
    x0, y0 = min(x0, width - 1), min(y0, height - 1)
    inside = to_gray(pixels[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)])
    beyond = ((max(0, y0 - top), max(0, bottom - y1)), (max(0, x0 - left), max(0, right - x1)))
    return resize_face(np.pad(inside, beyond, mode="edge"))
