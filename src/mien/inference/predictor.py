"""Predictor: from images to faces with calibrated emotion probabilities, on ONNX Runtime."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count, islice
from pathlib import Path
from typing import Any, cast, overload

import numpy as np
from numpy.typing import NDArray

from mien.data.crops import crop_face
from mien.data.decoding import MAX_PIXELS, Channels, LoadedImage, Source, read_image
from mien.data.faces import SIDE
from mien.errors import ImageError, ModelError
from mien.inference.detection import Detection, Detector, WholeImage, find_detector
from mien.inference.results import Face, Prediction
from mien.inference.tiles import NOTED, SizedDetector, TiledDetector, enough_pixels, smallest_face
from mien.models.bundle import Bundle
from mien.models.load import DEFAULT, load_bundle
from mien.models.onnx.session import Session
from mien.models.output import Prior, with_output

Box = tuple[int, int, int, int]
Search = Callable[[Detector, NDArray[np.uint8]], Sequence[Detection]]
"""Runs a detector on an image's pixels, RGB uint8 (H, W, 3), or on what it selects of them."""


@dataclass
class DetectedFaces:
    """The faces detected in an image, or why it could not be read; the image's pixels are not kept.

    Attributes:
        path: the image's name.
        width: the upright image's, in pixels; None where it could not be read.
        height: as ``width``.
        found: of each face the box (left, top, width, height, pixels) and the detector's score.
        crops: of each face gray uint8 (48, 48), as the network takes it.
        error: why it could not be read, in one line; else None.
        note: as that of :class:`mien.inference.Prediction`.
    """

    path: str
    width: int | None = None
    height: int | None = None
    found: list[tuple[Box, float | None]] = field(default_factory=list)
    crops: list[NDArray[np.uint8]] = field(default_factory=list)
    error: str | None = None
    note: str | None = None


class Predictor:
    """Detects faces and predicts their expressions; safe to use from several threads.

    Args:
        model: a shipped model's name, a bundle, its file, or a run folder.
        threads: how many threads a call may use, the detector's and the network's; 0: one for each processor.
        detector: the face detector: ``"fast"``, ``"accurate"`` (finds smaller faces, takes longer), ``"none"`` (each
            image is a face crop), or a detector of your own.
        min_confidence: a face whose most probable class is less probable than this is "uncertain"; its probabilities
            stay.
        batch: how many faces go through the network at once, and how many images are read before that.
        max_pixels: larger images are refused before they are decoded.
        min_face: the side of the smallest face to find, in pixels of the original image: large images are searched
            in tiles as far as it takes. Without it images are reduced, and where faces of 96 pixels or more are then
            out of reach the prediction has a ``note``.
        output: what predictions show, as :func:`mien.models.output.with_output` takes it: ``"default"``, the calibrated
            combination of the model's heads, or one head alone, ``"fer2013"`` or ``"ferplus"``. Without it, as the
            bundle has it.
        prior: the shares of the classes among your faces: ``"balanced"``, ``"fer2013"``, a file, or a mapping such as
            ``{"Happy": 0.4, ...}``; as that function takes it.

    Raises:
        ModelError: where the model or the detector cannot be read, the output or the prior does not fit the model, or
            ``min_face`` is given to a detector that does not search, or has no ``side`` and ``smallest`` face.
        ValueError: where ``min_confidence`` is not between 0 and 1, or ``batch``, ``max_pixels`` or ``min_face`` not
            above 0.
    """

    def __init__(
        self,
        model: Bundle | str | Path = DEFAULT,
        threads: int = 0,
        detector: Detector | str = "fast",
        min_confidence: float = 0.0,
        batch: int = 64,
        max_pixels: int = MAX_PIXELS,
        min_face: int | None = None,
        output: str | None = None,
        prior: Prior | None = None,
    ) -> None:
        if not 0 <= min_confidence <= 1:
            raise ValueError(f"min_confidence is between 0 and 1, not {min_confidence}")
        if batch < 1 or max_pixels < 1 or (min_face is not None and min_face < 1):
            raise ValueError("batch, max_pixels and min_face are at least 1")
        bundle = model if isinstance(model, Bundle) else load_bundle(model)
        self.bundle = with_output(bundle, output, prior)
        self.min_confidence, self.batch, self.max_pixels = min_confidence, batch, max_pixels
        self.min_face = min_face
        self.detector = find_detector(detector, threads) if isinstance(detector, str) else detector
        if min_face is not None and not isinstance(self.detector, SizedDetector):
            mend = "Leave min_face away, or take the detector fast or accurate."
            raise ModelError("this detector has no smallest face", mend=mend)
        self._session = Session(self.bundle, threads)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        return self.bundle.card.labels

    def faces(self, images: NDArray[np.uint8]) -> list[Face]:
        """Predict the expressions of gray faces, uint8 (N, 48, 48)."""
        side = images.shape[-1]
        return [self._face((0, 0, side, side), row, None) for row in self._probabilities(images)]

    @overload
    def predict(self, images: Source, channels: Channels = "rgb") -> Prediction: ...
    @overload
    def predict(self, images: list[Any] | tuple[Any, ...], channels: Channels = "rgb") -> list[Prediction]: ...
    def predict(
        self, images: Source | list[Any] | tuple[Any, ...], channels: Channels = "rgb"
    ) -> Prediction | list[Prediction]:
        """Detect the faces of one image, or of a list or tuple of them, and predict their expressions.

        Args:
            images: a path, an encoded file's bytes, an array (such as a video's frame), a Pillow image; or several.
            channels: the order of arrays' colours: ``"rgb"``, or OpenCV's ``"bgr"``.

        Returns:
            For one image a prediction; for several, also as one array (N, H, W, 3), a list of them, in the same
            order, in which an image that cannot be read gives a prediction with ``error``.

        Raises:
            ImageError: where the one image cannot be read.
        """
        if isinstance(images, list | tuple) or getattr(images, "ndim", 0) == 4:
            several = list(cast("Iterable[Source]", images))
            found = self.stream(several, channels)
            return [replace(one, source=source, channels=channels) for one, source in zip(found, several, strict=True)]
        (one,) = self.stream([images], channels)
        if one.error is not None:
            raise ImageError(one.error, None if one.path == _name(0, b"") else one.path)
        return replace(one, source=images, channels=channels)

    def stream(self, images: Iterable[Source], channels: Channels = "rgb") -> Iterator[Prediction]:
        """As :meth:`predict`, one image after the other, for as many as there are: memory does not grow with them.

        The faces of every ``batch`` images go through the network together.
        """
        return self._stream(images, self.detector, channels)

    def crops(self, images: Sequence[Source]) -> list[Prediction]:
        """Predict the expression of images that each show one face and little else.

        An image that cannot be read gives a prediction with ``error``; the others are not affected.
        """
        return list(self._stream(images, WholeImage(), "rgb"))

    def detect(
        self,
        image: Source,
        path: str = "",
        crop: bool = False,
        min_face: int | None = None,
        search: Search | None = None,
    ) -> DetectedFaces:
        """The first half of :meth:`predict`: read an image and detect its faces.

        Several threads may detect faces while another classifies those of earlier images.

        Args:
            image: as one of :meth:`predict`'s.
            path: the prediction's ``path``.
            crop: take the whole image as one face.
            min_face: for this image, in place of the predictor's.
            search: what runs the detector; without it, it runs on all pixels.
        """
        return self._detect(path, image, WholeImage() if crop else self.detector, "rgb", min_face, search)

    def classify(self, detected: Sequence[DetectedFaces]) -> list[Prediction]:
        """The second half of :meth:`predict`: the faces of all these images go through the network together."""
        crops = [crop for one in detected for crop in one.crops]
        rows = iter(self._probabilities(np.stack(crops)) if crops else ())
        faces = [tuple(self._face(box, next(rows), score) for box, score in one.found) for one in detected]
        pairs = zip(detected, faces, strict=True)
        return [Prediction(one.path, one.width, one.height, its, one.error, one.note) for one, its in pairs]

    def _stream(self, images: Iterable[Source], detector: Detector, channels: Channels) -> Iterator[Prediction]:
        numbered = zip(count(), images, strict=False)
        while chunk := list(islice(numbered, self.batch)):
            yield from self.classify(
                [self._detect(_name(place, image), image, detector, channels) for place, image in chunk]
            )

    def _detect(
        self,
        path: str,
        image: Source,
        detector: Detector,
        channels: Channels,
        min_face: int | None = None,
        search: Search | None = None,
    ) -> DetectedFaces:
        least = (min_face or self.min_face) if isinstance(detector, SizedDetector) else None
        try:
            zoom, enough = (least / SIDE, math.inf) if least else (math.inf, enough_pixels(detector))
            loaded = read_image(image, channels, self.max_pixels, zoom, enough)
        except ImageError as error:
            return DetectedFaces(path, error=error.what if error.mend is None else f"{error.what}. {error.mend}")
        detected = DetectedFaces(path, loaded.width, loaded.height)
        if isinstance(detector, SizedDetector):
            if least:
                detector = TiledDetector(detector, least / max(loaded.zoom))
            else:
                detected.note = _out_of_reach(detector, loaded)
        for detection in search(detector, loaded.pixels) if search else detector(loaded.pixels):
            detected.found.append((_in_original(detection, loaded), detection.score))
            square = detector.framing.square(detection.box) if detector.framing else detection.box
            detected.crops.append(crop_face(loaded.pixels, square))
        return detected

    def _probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float64]:
        return self._session.output(images, self.batch)

    def _face(self, box: Box, row: NDArray[np.float64], detection: float | None) -> Face:
        shares = dict(zip(self.labels, map(float, row), strict=True))
        return Face(box, shares, detection, self.min_confidence)


def _name(place: int, image: Source) -> str:
    return str(image) if isinstance(image, str | Path) else f"[{place}]"


def _out_of_reach(detector: SizedDetector, loaded: LoadedImage) -> str | None:
    smallest = smallest_face(detector, loaded.pixels.shape) * max(loaded.zoom)
    if smallest < NOTED:
        return None
    return f"faces smaller than {smallest:.0f} pixels are out of reach; set min_face (--min-face) to find them"


def _in_original(detection: Detection, loaded: LoadedImage) -> Box:
    """A detection's box in whole pixels of the original, within it."""
    across, down = loaded.zoom
    left, top, width, height = detection.box
    x0, x1 = np.clip((round(left * across), round((left + width) * across)), 0, loaded.width)
    y0, y1 = np.clip((round(top * down), round((top + height) * down)), 0, loaded.height)
    x0, y0 = min(x0, loaded.width - 1), min(y0, loaded.height - 1)
    return int(x0), int(y0), int(max(1, x1 - x0)), int(max(1, y1 - y0))


@overload
def predict(images: Source, channels: Channels = "rgb") -> Prediction: ...
@overload
def predict(images: list[Any] | tuple[Any, ...], channels: Channels = "rgb") -> list[Prediction]: ...
def predict(images: Source | list[Any] | tuple[Any, ...], channels: Channels = "rgb") -> Prediction | list[Prediction]:
    """Detect the faces of one image, or of several, and predict their expressions, with the default model.

    The first call loads the model, all calls share it, threads included. For another model or other options make a
    :class:`Predictor`. Arguments, result and errors are those of :meth:`Predictor.predict`.
    """
    return _default().predict(images, channels)


@cache
def _default() -> Predictor:
    return Predictor()
