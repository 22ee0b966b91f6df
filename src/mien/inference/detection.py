"""Where the faces are: the detector protocol, two detectors, and the frame that FER2013 puts around a face."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mien._utils.assets import ASSETS
from mien.errors import ModelError
from mien.models.onnx.runtime import PerProcess, onnxruntime

Box = tuple[float, float, float, float]
"""Left, top, width and height, in pixels."""


@dataclass(frozen=True)
class Detection:
    """A face that a detector found.

    Attributes:
        box: left, top, width and height, pixels.
        score: the detector's confidence, 0 to 1; None where no detector ran.
        landmarks: five points (x, y), pixels: the eyes, the nose, the corners of the mouth, each pair from left to
            right in the image; None where the detector gives none.
    """

    box: Box
    score: float | None
    landmarks: tuple[tuple[float, float], ...] | None = None

    def __post_init__(self) -> None:
        if not (self.box[2] > 0 and self.box[3] > 0):
            raise ValueError(f"a box has a width and a height above 0, not {self.box}")
        if self.score is not None and not 0 <= self.score <= 1:
            raise ValueError(f"a score is between 0 and 1, not {self.score}")
        if self.landmarks is not None and len(self.landmarks) != 5:
            raise ValueError(f"landmarks are five points, not {len(self.landmarks)}")


@dataclass(frozen=True)
class Framing:
    """How to get from a detector's box to the square that FER2013 would have cut out.

    Attributes:
        right: from the box's centre to the square's, in widths of the box.
        down: the same downwards, in heights of the box.
        side: the square's side, in units of sqrt(width x height) of the box.
    """

    right: float
    down: float
    side: float

    def square(self, box: Box) -> Box:
        """The square around a box; it may reach beyond the image."""
        left, top, width, height = box
        side = self.side * (width * height) ** 0.5
        x, y = left + width * (0.5 + self.right), top + height * (0.5 + self.down)
        return (x - side / 2, y - side / 2, side, side)


class Detector(Protocol):
    """What finds faces. Any object with these two does; it must be safe to call from several threads.

    Attributes:
        framing: how a box becomes FER2013's framing; None where the box itself is the crop.
    """

    framing: Framing | None

    def __call__(self, image: NDArray[np.uint8]) -> Sequence[Detection]:
        """The faces in an upright image, RGB uint8 (H, W, 3), the most confident first."""
        ...


class WholeImage:
    """The detector for crops: the image is the face."""

    framing: Framing | None = None

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        """One detection, without a score: the whole image."""
        return [Detection((0.0, 0.0, float(image.shape[1]), float(image.shape[0])), None)]


class YuNet:
    """YuNet (Wu, Peng and Yu 2023), OpenCV's face detector, which comes with mien; it runs on ONNX Runtime.

    Args:
        threshold: the lowest score of a face; from 0.7 on it has few false finds
            (results/LOG.md).
        side: the image is reduced until its longer side has this many pixels; more finds smaller faces, and takes
            longer.
        enlarge: how many times an image below that size is enlarged, at most.
        threads: how many threads ONNX Runtime may use for an image; 0 lets it choose.
    """

    smallest = 48.0
    """The side of the smallest faces found reliably, in pixels of the reduced image (benchmarks/small_faces.py)."""
    # studies/framing.py, results/framing.json: medians over faces of Training, the side times 0.85, the margin by
    # which found faces of PublicTest and portraits were classified best.
    framing: Framing | None = Framing(right=0.0, down=-0.025, side=1.0)

    def __init__(self, threshold: float = 0.7, side: int = 1280, enlarge: float = 1.0, threads: int = 0) -> None:
        self.threshold, self.side, self.enlarge = threshold, side, enlarge
        self._session = PerProcess(partial(_open_yunet, threads))
        self._session()

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        """The faces in RGB uint8 (H, W, 3), the most confident first, with landmarks."""
        side = min(self.side, round(max(image.shape[:2]) * self.enlarge))
        rows = self._rows(image, side)
        if side > 2 * _COARSE:
            rows = np.concatenate([rows, self._rows(image, _COARSE)])
        return [_found(rows[i]) for i in kept_boxes(rows[:, :4], rows[:, 14], 0.3)]

    def _rows(self, image: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
        """Boxes, five points and score, float32 (N, 15), in the image's pixels, found at this longer side."""
        small, zoom = resize_to(image, side)
        height, width = small.shape[:2]
        blob = np.zeros((1, 3, -(-height // 32) * 32, -(-width // 32) * 32), np.float32)
        blob[0, :, :height, :width] = small[..., ::-1].transpose(2, 0, 1)
        values = self._session().run(_OUTPUTS, {"input": blob})
        rows = [
            _decoded(values[i : i + 4], stride, blob.shape[3] // stride, self.threshold)
            for i, stride in zip((0, 4, 8), _STRIDES, strict=True)
        ]
        return np.concatenate(rows) * np.array([zoom] * 14 + [1], np.float32)


_COARSE = 320
"""The longer side at which a large image is searched as well: above 500 pixels YuNet misses faces."""
_STRIDES = (8, 16, 32)
_OUTPUTS = [f"{name}_{stride}" for stride in _STRIDES for name in ("cls", "obj", "bbox", "kps")]


def _decoded(values: list[NDArray[np.float32]], stride: int, columns: int, threshold: float) -> NDArray[np.float32]:
    """Boxes, points and scores, float32 (N, 15), of the cells of a stride whose score is above the threshold."""
    score = np.sqrt((values[0] * values[1])[0, :, 0].clip(0, 1))
    (cells,) = np.nonzero(score > threshold)
    corner = np.stack([cells % columns, cells // columns], axis=1)
    middle, size = corner + values[2][0, cells, :2], np.exp(values[2][0, cells, 2:])
    points = values[3][0, cells] + np.tile(corner, 5)
    lengths = np.concatenate([middle - size / 2, size, points], axis=1) * stride
    return np.column_stack([lengths, score[cells]]).astype(np.float32)


def _open_yunet(threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Idle threads that spin take time from whatever else runs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Images of many sizes would each leave a plan of their buffers.
    options.enable_mem_pattern = False
    return onnxruntime.InferenceSession(str(ASSETS / "yunet.onnx"), options, providers=["CPUExecutionProvider"])


def find_detector(name: str, threads: int = 0) -> Detector:
    """A detector by its name: ``fast``, ``accurate`` or ``none``.

    ``accurate`` is the same detector with images at twice the size: it finds smaller faces and takes longer.

    Raises:
        ModelError: where there is none of this name.
    """
    if name == "fast":
        return YuNet(threads=threads)
    if name == "accurate":
        return YuNet(threshold=0.75, side=2560, enlarge=2.0, threads=threads)
    if name == "none":
        return WholeImage()
    raise ModelError(f"no detector {name!r}", mend="Choose fast, accurate or none.")


def resize_to(image: NDArray[np.uint8], side: int) -> tuple[NDArray[np.uint8], float]:
    """An image whose longer side is ``side``, and how many of its pixels one of the result's stands for."""
    height, width = image.shape[:2]
    zoom = max(height, width) / side
    if zoom == 1.0:
        return image, zoom
    size = (max(1, round(width / zoom)), max(1, round(height / zoom)))
    way = cv2.INTER_AREA if zoom > 1 else cv2.INTER_LINEAR
    return cast("NDArray[np.uint8]", cv2.resize(image, size, interpolation=way)), zoom


def kept_boxes(boxes: NDArray[np.floating], scores: NDArray[np.floating], overlap: float) -> list[int]:
    """Which of the boxes (N, 4) stay, the most confident first, where of two that overlap too much only the surer does.

    Args:
        boxes: left, top, width, height.
        scores: (N,).
        overlap: the largest share of intersection over union that two remaining boxes may have.
    """
    order = list(np.argsort(-scores, kind="stable"))
    ends, areas = boxes[:, :2] + boxes[:, 2:], boxes[:, 2] * boxes[:, 3]
    chosen: list[int] = []
    while order:
        first, *rest = order
        chosen.append(int(first))
        shared = np.minimum(ends[rest], ends[first]) - np.maximum(boxes[rest, :2], boxes[first, :2])
        common = shared.clip(0).prod(1)
        order = [
            one
            for one, share in zip(rest, common / (areas[rest] + areas[first] - common), strict=True)
            if share <= overlap
        ]
    return chosen


def _found(row: NDArray[np.float32]) -> Detection:
    left, top, width, height, *points, score = map(float, row)
    return Detection((left, top, width, height), min(1.0, score), tuple(zip(points[::2], points[1::2], strict=True)))
