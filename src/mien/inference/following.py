"""Faces from frame to frame: the whole frame is searched now and then, the others only around the faces last found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from mien.inference.detection import Box, Detection, Detector, kept_boxes, resize_to
from mien.inference.tiles import SizedDetector, is_cut, moved
from mien.inference.tracking import overlap

INTERVAL = 0.3
"""Seconds within which a new face is found."""
_AROUND = 2.0  # side of the square searched around a face, in sides of its box: it may move by 0.4 of them per frame
_SIDE = 192  # pixels of that square as the detector gets it
_ENLARGED = 3.0  # at most
_SAME = 0.3  # intersection over union of a face's boxes in two frames, at least
_MARGIN = 4  # pixels of the square as the detector gets it; a face that comes nearer to its border is cut
_SHORT = 1e-6  # seconds; times of frames are sums
_PATIENCE = 0.5  # seconds for which a face that is missed is searched where it was


@dataclass(frozen=True)
class _Known:
    box: Box
    time: float  # of the last frame in which it was found


class FollowingSearch:
    """Searches the frames of one video for faces, in order; not to be shared by threads.

    A frame is searched in whole where the last such search is ``interval`` old, where a face of the frame before is not
    found near its place, and where so many faces are known that this is cheaper.

    Args:
        detector: what searches the parts; where it is no :class:`SizedDetector` all frames are searched in whole.
        interval: seconds; 0 searches all frames in whole.
    """

    def __init__(self, detector: Detector, interval: float = INTERVAL) -> None:
        self._detector = detector if isinstance(detector, SizedDetector) else None
        self._interval, self._whole, self._last = interval, -inf, -inf
        self._known: list[_Known] = []

    def __call__(self, time: float, detector: Detector, image: NDArray[np.uint8]) -> Sequence[Detection]:
        """The faces of the next frame, the most confident first.

        Args:
            time: the frame's, seconds; above that of the last call.
            detector: what searches a whole frame.
            image: RGB uint8 (H, W, 3), all of one size.
        """
        near = self._near(time, image)
        if near is None:
            self._whole = time
        found = detector(image) if near is None else near
        missed = [one for one in self._known if time - one.time <= _PATIENCE and not _among(one, found)]
        self._known, self._last = [_Known(one.box, time) for one in found] + missed, time
        return found

    def _near(self, time: float, image: NDArray[np.uint8]) -> list[Detection] | None:
        """The faces near those known; None where the whole frame is to be searched."""
        height, width = image.shape[:2]
        if self._detector is None or not time - self._whole < self._interval - _SHORT:
            return None
        pixels = height * width * min(1.0, self._detector.side / max(height, width)) ** 2
        if len(self._known) * _SIDE**2 > pixels:
            return None
        faces = [face for one in self._known for face in _around(one.box, image, self._detector)]
        boxes, scores = np.array([one.box for one in faces]).reshape(-1, 4), [one.score or 0.0 for one in faces]
        found = [faces[i] for i in kept_boxes(boxes, np.array(scores), _SAME)]
        before = [one for one in self._known if one.time == self._last]
        return found if len(found) >= len(before) and all(_among(one, found) for one in before) else None


def _among(known: _Known, found: Sequence[Detection]) -> bool:
    return any(overlap(known.box, one.box) >= _SAME for one in found)


def _around(box: Box, image: NDArray[np.uint8], detector: SizedDetector) -> Iterator[Detection]:
    """The faces in a square around a box, less those that its border cuts."""
    left, top, width, height = box
    side = _AROUND * max(width, height)
    x, y = (max(0, round(middle - side / 2)) for middle in (left + width / 2, top + height / 2))
    part = image[y : round(top + height / 2 + side / 2) + 1, x : round(left + width / 2 + side / 2) + 1]
    zoom = max(side / _SIDE, 1 / _ENLARGED)
    small, zoom = resize_to(part, max(1, round(max(part.shape[:2]) / zoom)))
    for one in detector(small):
        found = moved(one, zoom, x, y)
        if not is_cut(found.box, (x, y), part.shape, image.shape, zoom * _MARGIN):
            yield found
