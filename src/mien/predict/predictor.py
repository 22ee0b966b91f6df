"""Predictor: face crops in, calibrated emotions out, on ONNX Runtime."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.data.images import decode
from mien.model.bundle import Bundle, load_bundle
from mien.model.session import Session


@dataclass(frozen=True)
class Face:
    """What a model says of one face.

    Attributes:
        box: left, top, width and height in the image, pixels.
        probabilities: each class's probability, in the order of the classes; they sum to 1.
        detection: the detector's confidence, 0 to 1; None where the image was given as a crop.
    """

    box: tuple[int, int, int, int]
    probabilities: dict[str, float]
    detection: float | None = None

    def __post_init__(self) -> None:
        total = sum(self.probabilities.values())
        if not abs(total - 1) < 1e-3 or min(self.probabilities.values()) < 0:
            raise ValueError(f"probabilities must be at least 0 and sum to 1, not to {total}")

    @property
    def emotion(self) -> str:
        """The most probable class."""
        return max(self.probabilities, key=self.probabilities.__getitem__)

    @property
    def confidence(self) -> float:
        """The most probable class's probability."""
        return self.probabilities[self.emotion]

    def __repr__(self) -> str:
        return f"Face({self.emotion} {self.confidence:.1%}, box={self.box})"

    def to_dict(self) -> dict[str, Any]:
        """The face, ready for JSON."""
        return {
            "box": list(self.box),
            "detection": self.detection,
            "emotion": self.emotion,
            "confidence": self.confidence,
            "probabilities": dict(self.probabilities),
        }


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image, or why it could not be read."""

    path: str
    width: int | None = None
    height: int | None = None
    faces: tuple[Face, ...] = ()
    error: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The prediction, ready for JSON."""
        head = {"path": self.path, "width": self.width, "height": self.height}
        return head | {"faces": [face.to_dict() for face in self.faces], "error": self.error}


@dataclass
class _Crop:
    """An image on its way: read, or refused."""

    path: str
    width: int = 0
    height: int = 0
    pixels: NDArray[np.uint8] | None = field(default=None, repr=False)
    error: str | None = None


class Predictor:
    """A model ready to name expressions.

    Args:
        model: a bundle, its file, or a run folder.
        threads: how many threads a call may use; 0 lets ONNX Runtime choose.

    Raises:
        ModelError: where the model cannot be read.
    """

    def __init__(self, model: Bundle | str | Path, threads: int = 0) -> None:
        self.bundle = model if isinstance(model, Bundle) else load_bundle(model)
        self._session = Session(self.bundle, threads)

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes, in the order of the probabilities."""
        return self.bundle.card.labels

    def faces(self, images: NDArray[np.uint8]) -> list[Face]:
        """Name the expressions of gray faces, uint8 (N, 48, 48), in one batch.

        A model with two heads says what people would see, which is not always the label that FER2013 would give.
        """
        rows = self._session.probabilities(images)[self.bundle.card.heads[-1]]
        side = images.shape[-1]
        return [Face((0, 0, side, side), dict(zip(self.labels, map(float, row), strict=True))) for row in rows]

    def crops(self, paths: Sequence[str | Path]) -> list[Prediction]:
        """Name the expression of image files that each show one face and little else.

        A file that cannot be read gives a prediction with ``error``; the others are not affected.
        """
        crops = [_read(Path(path)) for path in paths]
        good = [crop.pixels for crop in crops if crop.pixels is not None]
        answers = iter(self.faces(np.stack(good)) if good else [])
        return [_prediction(crop, next(answers)) if crop.error is None else _refused(crop) for crop in crops]


def _read(path: Path) -> _Crop:
    try:
        data = path.read_bytes()
        pixels = decode(data)
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
    except OSError as error:
        return _Crop(str(path), error=error.strerror or str(error))
    except ValueError as error:
        return _Crop(str(path), error=str(error))
    return _Crop(str(path), width, height, pixels)


def _prediction(crop: _Crop, face: Face) -> Prediction:
    whole = Face((0, 0, crop.width, crop.height), face.probabilities)
    return Prediction(crop.path, crop.width, crop.height, (whole,))


def _refused(crop: _Crop) -> Prediction:
    return Prediction(crop.path, error=crop.error)
