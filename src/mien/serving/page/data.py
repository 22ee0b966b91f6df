"""What the page shows of a data set: models' answers on whole splits, computed once, and faces that fit a filter."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from mien.data.faces import UNLABELLED, USAGES, Faces, Usage
from mien.data.quality.label_noise import by_votes
from mien.emotions import LABELS, Output
from mien.errors import DataError
from mien.inference.predictor import Predictor
from mien.models.bundle import Bundle
from mien.models.onnx.session import Session, softmax
from mien.models.output import outputs, with_output

NO_LABEL = "no label"
STEP = 512
"""How many faces are answered between two reports of progress."""

T = TypeVar("T")
Progress = Callable[[float], None]
"""Told the share that is done, 0 to 1."""


@dataclass(frozen=True)
class Filters:
    """The filters of a split's faces; None filters nothing.

    Attributes:
        true: the label's number.
        predicted: the number of the class that the model names.
        wrong: only faces whose label the model does not name.
        low: the least probability of the class that the model names, 0 to 1.
        high: the greatest.
        leaked: whether the face's pixels also stand in Training.
        suspect: whether votes speak against the face's label.
    """

    true: int | None = None
    predicted: int | None = None
    wrong: bool = False
    low: float = 0.0
    high: float = 1.0
    leaked: bool | None = None
    suspect: bool | None = None


@dataclass(frozen=True)
class Split:
    """The faces of a split, and what is known of them without a model.

    Attributes:
        name: such as ``PublicTest``.
        faces: N faces.
        leaked: bool (N,), where the pixels are also in Training; None where there is no Training.
        suspect: for a face whose label votes speak against, what they speak for; None without votes.
    """

    name: str
    faces: Faces
    leaked: NDArray[np.bool_] | None
    suspect: dict[int, str] | None

    def label(self, number: int) -> str:
        """A face's label in words."""
        label = int(self.faces.emotion[number])
        return NO_LABEL if label == UNLABELLED else self.faces.labels[label]

    def matches(self, probabilities: NDArray[np.floating], filters: Filters) -> NDArray[np.int64]:
        """The numbers of the faces that fit, rising, int64 (M,), given a model's answers, float (N, C)."""
        predicted, sure, true = probabilities.argmax(1), probabilities.max(1), self.faces.emotion
        fits = (sure >= filters.low - 1e-9) & (sure <= filters.high + 1e-9)
        if filters.true is not None:
            fits &= true == filters.true
        if filters.predicted is not None:
            fits &= predicted == filters.predicted
        if filters.wrong:
            fits &= (true != UNLABELLED) & (predicted != true)
        if filters.leaked is not None and self.leaked is not None:
            fits &= self.leaked == filters.leaked
        if filters.suspect is not None and self.suspect is not None:
            fits &= np.isin(np.arange(len(true)), list(self.suspect)) == filters.suspect
        return np.flatnonzero(fits)

    def confusion(self, probabilities: NDArray[np.floating]) -> NDArray[np.int64]:
        """int64 (C, C): how many faces of each label (rows) the model gives each class (columns)."""
        classes = probabilities.shape[1]
        known = self.faces.emotion != UNLABELLED
        cells = self.faces.emotion[known] * classes + probabilities.argmax(1)[known]
        return np.bincount(cells, minlength=classes**2).reshape(classes, classes)

    def accuracy(self, probabilities: NDArray[np.floating]) -> tuple[float | None, float | None]:
        """The share of faces named rightly, and the same without leaked ones; None where there is no such face."""
        known = self.faces.emotion != UNLABELLED
        hits = probabilities.argmax(1) == self.faces.emotion
        clean = None if self.leaked is None else known & ~self.leaked
        return _mean(hits[known]), None if clean is None else _mean(hits[clean])


class Store:
    """A data set and what models say of it; safe to use from several threads.

    Args:
        models: the models, by the names under which the page offers them.
        data: the faces.
    """

    def __init__(self, models: Mapping[str, Predictor], data: Faces) -> None:
        self.models, self.data = models, data
        self._once = _Once()

    @property
    def splits(self) -> list[str]:
        """The names of the splits that have faces, a test split first."""
        names = list(self.data.splits())
        return sorted(names, key=lambda name: (name == Usage.TRAINING, names.index(name)))

    def split(self, name: str) -> Split:
        """A split.

        Raises:
            DataError: where there is none of this name, or it has no face.
        """
        return self._once(("split", name), lambda: _split(self.data, name))

    def answers(
        self, model: str, split: str, output: Output, progress: Progress = lambda _: None
    ) -> NDArray[np.float64]:
        """A model's calibrated probabilities on a split, float64 (N, C); the first call takes its time.

        Raises:
            DataError: where the model has other classes than the data.
        """
        faces = self.split(split).faces
        every: dict[Output, NDArray[np.float64]]
        every = self._once(("answers", model, split), lambda: self._answer(model, faces.images, progress))
        return every[output]

    def answer(self, model: str, split: str, face: int, output: Output) -> NDArray[np.float64]:
        """What a model says of one face, float64 (C,).

        Raises:
            DataError: as :meth:`answers`.
        """
        every: dict[Output, NDArray[np.float64]] | None = self._once.known(("answers", model, split))
        if every is None:
            every = self._answer(model, self.split(split).faces.images[face : face + 1], lambda _: None)
            face = 0
        row: NDArray[np.float64] = every[output][face]
        return row

    def _answer(self, model: str, images: NDArray[np.uint8], progress: Progress) -> dict[Output, NDArray[np.float64]]:
        bundle = self.models[model].bundle
        if bundle.card.labels != self.data.labels:
            raise DataError(
                f"its classes are not those of the model {model} ({', '.join(bundle.card.labels)})", self.data.name
            )
        session = self._once(("session", model), lambda: Session(bundle))
        parts = []
        for start in range(0, len(images), STEP):
            parts.append(session.logits(images[start : start + STEP]))
            progress(min(1.0, (start + STEP) / len(images)))
        logits = {head: np.concatenate([part[head] for part in parts]) for head in bundle.card.heads}
        chosen = {one: with_output(bundle, one).card.calibration for one in outputs(bundle.card)}
        return {one: softmax(calibration.combine(logits)) for one, calibration in chosen.items()}


class _Once:
    """Results that are computed once, though several threads ask at the same time; a failure is not kept."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._found: dict[Hashable, Future[Any]] = {}

    def __call__(self, key: Hashable, make: Callable[[], T]) -> T:
        with self._lock:
            first = key not in self._found
            future: Future[T] = self._found.setdefault(key, Future())
        if first:
            try:
                future.set_result(make())
            except BaseException as error:  # whatever it was, those who wait must hear of it
                with self._lock:
                    del self._found[key]
                future.set_exception(error)
        return future.result()

    def known(self, key: Hashable) -> Any:
        """The result, or None where it is not there yet."""
        with self._lock:
            future = self._found.get(key)
        return future.result() if future is not None and future.done() else None


def _split(data: Faces, name: str) -> Split:
    faces = data.select(name)
    training = data.usage == USAGES.index(Usage.TRAINING)
    has_training = name != Usage.TRAINING and bool(training.any())
    leaked = ~faces.clean(data.take(training)) if has_training else None
    voted = faces.votes is not None and faces.labels == LABELS
    suspect = {one.face: one.better for one in by_votes(faces)} if voted else None
    return Split(name, faces, leaked, suspect)


def _mean(values: NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None


def output_names(bundle: Bundle) -> dict[str, Output]:
    """The outputs of a model, in the words of the page."""
    words = {Output.DEFAULT: "Default", Output.FER2013: "FER2013 label", Output.FERPLUS: "FER+ consensus"}
    return {words[output]: output for output in outputs(bundle.card)}
