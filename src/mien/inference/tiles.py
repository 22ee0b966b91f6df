"""Small faces in large images: a detector run on overlapping tiles, and the smallest face it finds without them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mien.data.faces import SIDE
from mien.inference.detection import Box, Detection, Detector, Framing, kept_boxes, resize_to

MARGIN = 1.5
"""How many times its smallest face a detector is shown a face that it must find (benchmarks/small_faces.py)."""
NOTED = 2 * SIDE
"""Where faces below this size, in pixels, are out of reach a prediction has a note: they have twice the detail of the
network's input in both directions, so they are lost by the reduction and not by the image."""
_STEP = 4  # between two scales; the overlap of tiles grows with it
_ENLARGED = 3.0  # at most; the smallest faces then have 16 pixels


@runtime_checkable
class SizedDetector(Detector, Protocol):
    """A detector that reduces images to a known size.

    Attributes:
        side: the longer side, in pixels, above which it reduces an image to this.
        smallest: the side of the smallest faces that it finds reliably in an image of that size, in pixels.
    """

    side: int
    smallest: float


class TiledDetector:
    """A detector that finds faces down to a given size in images of any size; itself a :class:`Detector`.

    It runs on the whole image and, where that is reduced too far or not enlarged, on tiles at a scale at which the
    smallest face is found. Tiles overlap by the largest face that only they find, so that each is whole in one of them.

    Args:
        detector: what finds the faces.
        face: the side of the smallest face to find, in pixels of the images that it will be given.
    """

    def __init__(self, detector: SizedDetector, face: float) -> None:
        self.framing: Framing | None = detector.framing
        self._detector, self._zoom = detector, max(1 / _ENLARGED, face / (MARGIN * detector.smallest))

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        """The faces in RGB uint8 (H, W, 3), the most confident first."""
        found = list(self._detector(image))
        coarser = max(1.0, max(image.shape[:2]) / self._detector.side)
        zoom = self._zoom
        while zoom < coarser:
            found += self._in_tiles(image, zoom, min(coarser, _STEP * zoom))
            zoom *= _STEP
        boxes = np.array([one.box for one in found]).reshape(-1, 4)
        return [found[i] for i in kept_boxes(boxes, np.array([one.score or 0.0 for one in found]), 0.3)]

    def _in_tiles(self, image: NDArray[np.uint8], zoom: float, coarser: float) -> Iterator[Detection]:
        """The faces at a scale, less those cut by a tile's border, which another tile or scale has whole."""
        height, width = image.shape[:2]
        tile = int(self._detector.side * zoom)
        overlap = min(tile // 2, int(MARGIN * self._detector.smallest * coarser) + 1)
        rows, columns = tile_starts(height, tile, overlap), tile_starts(width, tile, overlap)
        for top, left in product(rows, columns):
            part = image[top : top + tile, left : left + tile]
            enlarged, scale = resize_to(part, round(max(part.shape) / min(1.0, zoom)))
            for one in self._detector(enlarged):
                found = moved(one, scale, left, top)
                if not is_cut(found.box, (left, top), part.shape, image.shape, zoom * self._detector.smallest / 8):
                    yield found


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin along a side: evenly spread, the fewest that overlap by at least ``overlap`` pixels.

    Args:
        length: the side, pixels.
        tile: a tile's length, pixels, above ``overlap``.
        overlap: pixels.
    """
    last = max(0, length - tile)
    steps = -(-last // (tile - overlap))
    return [last * step // steps for step in range(steps)] + [last]


def smallest_face(detector: SizedDetector, shape: tuple[int, ...]) -> float:
    """The side of the smallest face that a detector finds in an image of this shape (H, W, ...), in its pixels."""
    return detector.smallest * max(1.0, max(shape[:2]) / detector.side)


def enough_pixels(detector: Detector) -> float:
    """The longer side of an image in which every face that a detector finds has :data:`SIDE` pixels for its crop.

    A detector that reduces images finds no face of less than two thirds of its smallest one.
    """
    if not isinstance(detector, SizedDetector):
        return math.inf
    return detector.side * max(1.0, SIDE / (detector.smallest * 2 / 3))


def is_cut(box: Box, start: tuple[int, int], part: tuple[int, ...], whole: tuple[int, ...], margin: float) -> bool:
    """Whether a box reaches, but for a margin, a border of its tile that is none of the image."""
    for axis in (0, 1):
        begin, end = start[axis], start[axis] + part[1 - axis]
        if begin > 0 and box[axis] < begin + margin:
            return True
        if end < whole[1 - axis] and box[axis] + box[axis + 2] > end - margin:
            return True
    return False


def moved(one: Detection, scale: float, right: int, down: int) -> Detection:
    """A detection of a resized part of an image, in the image's pixels: scaled, then moved."""
    left, top, width, height = (value * scale for value in one.box)
    points = one.landmarks and tuple((x * scale + right, y * scale + down) for x, y in one.landmarks)
    return Detection((left + right, top + down, width, height), one.score, points)
