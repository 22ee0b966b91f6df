"""Predictions: of a face, of an image, and as rows of a table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mien.errors import printable, require

if TYPE_CHECKING:
    import pandas as pd

    from mien.data.decoding import Channels, Source

UNCERTAIN = "uncertain"
"""The emotion of a face whose most probable class is less probable than ``min_confidence``."""


@dataclass(frozen=True)
class Face:
    """The prediction for one face.

    Attributes:
        box: left, top, width and height in the image, pixels, within the image.
        probabilities: each class's probability, in the order of the classes; they sum to 1.
        detection: the detector's confidence, 0 to 1; None where the image was given as a crop.
        min_confidence: below this probability the emotion is "uncertain".
    """

    box: tuple[int, int, int, int]
    probabilities: dict[str, float]
    detection: float | None = None
    min_confidence: float = 0.0

    def __post_init__(self) -> None:
        total = sum(self.probabilities.values())
        if not abs(total - 1) < 1e-3 or min(self.probabilities.values()) < 0:
            raise ValueError(f"probabilities must be at least 0 and sum to 1, not to {total}")
        if len(self.box) != 4 or min(self.box[2:]) < 1:
            raise ValueError(f"a box is left, top, width and height, the last two at least 1, not {self.box}")
        if self.detection is not None and not 0 <= self.detection <= 1:
            raise ValueError(f"a detection's confidence is between 0 and 1, not {self.detection}")

    @property
    def emotion(self) -> str:
        """The most probable class, or ``"uncertain"``."""
        best = max(self.probabilities, key=self.probabilities.__getitem__)
        return best if self.probabilities[best] >= self.min_confidence else UNCERTAIN

    @property
    def confidence(self) -> float:
        """The most probable class's probability."""
        return max(self.probabilities.values())

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
    """The prediction for one image, or why it could not be read.

    Attributes:
        path: the file; for what came without one, its place among the images, such as ``"[3]"``.
        width: the upright image's, in pixels; None where it could not be read.
        height: as ``width``.
        faces: the most confident detection first.
        error: why the image could not be read, in one line; None where it was.
        note: which faces are out of reach, in one line, where a large image was reduced; else None.
    """

    path: str
    width: int | None = None
    height: int | None = None
    faces: tuple[Face, ...] = ()
    error: str | None = None
    note: str | None = None

    source: Source | None = field(default=None, repr=False, compare=False)
    channels: Channels = field(default="rgb", repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        """Without the image, which other processes would receive with each prediction."""
        return self.__dict__ | {"source": None}

    def _repr_html_(self) -> str:
        """What a notebook shows: the image with boxes, and bars."""
        from mien.inference.html import to_html

        return to_html(self)

    def __post_init__(self) -> None:
        if self.error is not None and self.faces:
            raise ValueError("an image that could not be read has no faces")
        if self.error is None and (self.width is None or self.height is None):
            raise ValueError("an image that was read has a width and a height")

    def __repr__(self) -> str:
        if self.error is not None:
            return f"Prediction({printable(self.path)}: {self.error})"
        names = ", ".join(f"{face.emotion} {face.confidence:.1%}" for face in self.faces) or "no face"
        return f"Prediction({printable(self.path)}, {self.width}x{self.height}: {names})"

    def to_dict(self) -> dict[str, Any]:
        """The prediction, ready for JSON."""
        head = {"path": printable(self.path), "width": self.width, "height": self.height}
        return head | {"faces": [face.to_dict() for face in self.faces], "error": self.error, "note": self.note}

    def to_rows(self, labels: Iterable[str] = ()) -> list[dict[str, Any]]:
        """A row a face; an image without any has one row, whose ``face`` is None, so that no image is lost.

        Args:
            labels: the classes, for the columns of rows without a face.
        """
        head = {"path": printable(self.path), "width": self.width, "height": self.height}
        blank = dict.fromkeys(("face", *FACE_COLUMNS, *labels)) | {"error": self.error}
        rows = [head | blank | {"face": place} | face_cells(face) for place, face in enumerate(self.faces)]
        return rows or [head | blank]


FACE_COLUMNS = ("x", "y", "box_width", "box_height", "detection", "emotion", "confidence")
"""The columns of a face in a table, besides each class's probability."""


def face_cells(face: Face) -> dict[str, Any]:
    """The face's cells in a row: those of :data:`FACE_COLUMNS`, and each class's probability."""
    place = dict(zip(("x", "y", "box_width", "box_height"), face.box, strict=True))
    scores = {"detection": face.detection, "emotion": face.emotion, "confidence": face.confidence}
    return {**place, **scores, **face.probabilities}


def to_rows(predictions: Iterable[Prediction]) -> list[dict[str, Any]]:
    """Predictions as a table, for ``pandas.DataFrame`` or ``polars.DataFrame``: a row a face, all with equal columns.

    The columns are ``path``, ``width``, ``height``, ``face`` (its place in the image; None where it has none), ``x``,
    ``y``, ``box_width``, ``box_height``, ``detection``, ``emotion``, ``confidence``, each class's probability, and
    ``error``.
    """
    several = list(predictions)
    labels = next((tuple(face.probabilities) for one in several for face in one.faces), ())
    return [row for one in several for row in one.to_rows(labels)]


def to_dataframe(predictions: Prediction | Iterable[Prediction]) -> pd.DataFrame:
    """Predictions as a pandas table: the columns of :func:`to_rows`, one row per face.

    Raises:
        MissingExtraError: where pandas is not installed.
    """
    pandas = require("pandas", "dataframe")
    several = [predictions] if isinstance(predictions, Prediction) else predictions
    table: pd.DataFrame = pandas.DataFrame(to_rows(several))
    return table
