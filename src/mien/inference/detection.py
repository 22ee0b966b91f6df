"""Where the faces are: the detector protocol, three detectors, and the frame that FER2013 puts around a face."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mien._utils.assets import ASSETS
from mien.errors import ModelError
from mien.inference.yunet import yunet_file
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


class CenterFace:
    """CenterFace (Xu et al. 2019, arXiv:1911.03599), which comes with mien; it runs on ONNX Runtime.

    Args:
        threshold: the lowest score of a face; 0.35 finds more than 0.5, and no more that is false
            (results/detectors.json).
        side: the image is reduced until its longer side has this many pixels; more finds smaller faces, and takes
            longer.
        threads: how many threads ONNX Runtime may use for an image; 0 lets it choose.
    """

    smallest = 24.0
    """The side of the smallest faces found reliably, in pixels of the reduced image (benchmarks/small_faces.py)."""
    # studies/framing.py, results/framing.json: medians over faces of Training, the side times 0.95, the margin by
    # which found faces of PublicTest were classified best.
    framing: Framing | None = Framing(right=0.0, down=-0.02, side=1.15)

    def __init__(self, threshold: float = 0.35, side: int = 640, threads: int = 0) -> None:
        self.threshold, self.side = threshold, side
        self._session = PerProcess(partial(_open_centerface, threads))
        self._session()

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        """The faces in RGB uint8 (H, W, 3), the most confident first, with landmarks."""
        small, zoom = reduce_to(image, self.side)
        height, width = small.shape[:2]
        blob = np.zeros((1, 3, -(-height // 32) * 32, -(-width // 32) * 32), np.float32)
        blob[0, :, :height, :width] = small.transpose(2, 0, 1)
        score, size, offset, landmarks = self._session().run(["score", "size", "offset", "landmarks"], {"image": blob})
        rows, columns = np.nonzero(score[0, 0] > self.threshold)
        # Each cell is 4x4 pixels; the network gives y before x.
        high, wide = np.exp(size[0, :, rows, columns].T) * 4
        y, x = (np.stack([rows, columns]) + offset[0, :, rows, columns].T + 0.5) * 4
        boxes = np.stack([x - wide / 2, y - high / 2, wide, high], axis=1)
        points = landmarks[0, :, rows, columns].reshape(-1, 5, 2)[..., ::-1] * np.stack([wide, high], 1)[:, None]
        points = points + boxes[:, None, :2]
        scores = score[0, 0, rows, columns]
        return [_found(boxes[i] * zoom, scores[i], points[i] * zoom) for i in kept_boxes(boxes, scores, 0.3)]


def _open_centerface(threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # Images of many sizes would each leave a plan of their buffers. Without plans the arena holds less than fresh
    # memory for every image does, 188 against 225 MB after 160 sizes, and an image takes a fifth less time.
    options.enable_mem_pattern = False
    file = ASSETS / "centerface.onnx"
    return onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])


class YuNet:
    """YuNet (Wu, Peng and Yu 2023), OpenCV's face detector; its file is fetched on request.

    Args:
        file: ``face_detection_yunet_2023mar.onnx``; without it, ``MIEN_YUNET`` or what ``mien fetch-detector`` left.
        threshold: the lowest score of a face.
        side: as that of :class:`CenterFace`.

    Raises:
        ModelError: where the file is absent or damaged.
    """

    smallest = 10.0
    """As that of :class:`CenterFace`, by its authors' figure."""
    # Measured as CenterFace's.
    framing: Framing | None = Framing(right=0.0, down=-0.025, side=1.12)

    def __init__(self, file: str | Path | None = None, threshold: float = 0.7, side: int = 640) -> None:
        self.file, self.threshold, self.side = yunet_file(file), threshold, side
        # OpenCV's object keeps the size of its last image, so each thread needs one of its own.
        self._local = PerProcess(threading.local)
        self._make()

    def _make(self) -> Any:
        try:
            return cv2.FaceDetectorYN.create(str(self.file), "", (320, 320), self.threshold, 0.3, 5000)
        except cv2.error as error:
            raise ModelError("OpenCV cannot read this detector", self.file, "Fetch it again.") from error

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        """The faces in RGB uint8 (H, W, 3), the most confident first, with landmarks."""
        local = self._local()
        if not hasattr(local, "network"):
            local.network = self._make()
        small, zoom = reduce_to(image, self.side)
        local.network.setInputSize((small.shape[1], small.shape[0]))
        _, rows = local.network.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        found = [] if rows is None else sorted(rows, key=lambda row: -row[14])
        good = [row for row in found if row[2] > 0 and row[3] > 0]
        return [_found(row[:4] * zoom, row[14], row[4:14].reshape(5, 2) * zoom) for row in good]


def find_detector(name: str, threads: int = 0) -> Detector:
    """A detector by its name: ``auto``, ``centerface``, ``yunet`` or ``none``.

    ``auto`` is YuNet where its file is present, else CenterFace.

    Raises:
        ModelError: where there is none of this name, or its file is absent.
    """
    if name == "auto":
        name = "centerface" if yunet_file(missing_ok=True) is None else "yunet"
    if name == "centerface":
        return CenterFace(threads=threads)
    if name == "yunet":
        return YuNet()
    if name == "none":
        return WholeImage()
    raise ModelError(f"no detector {name!r}", mend="Choose auto, centerface, yunet or none.")


def reduce_to(image: NDArray[np.uint8], side: int) -> tuple[NDArray[np.uint8], float]:
    """An image whose longer side is at most ``side``, and how many of its pixels one of the result's stands for."""
    height, width = image.shape[:2]
    zoom = max(1.0, max(height, width) / side)
    if zoom == 1.0:
        return image, zoom
    size = (max(1, round(width / zoom)), max(1, round(height / zoom)))
    return cast("NDArray[np.uint8]", cv2.resize(image, size, interpolation=cv2.INTER_AREA)), zoom


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


def _found(box: NDArray[np.floating], score: float, points: NDArray[np.floating]) -> Detection:
    left, top, width, height = map(float, box)
    landmarks = tuple((float(x), float(y)) for x, y in points)
    return Detection((left, top, width, height), min(1.0, max(0.0, float(score))), landmarks)
