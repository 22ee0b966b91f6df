"""Evaluate a model end to end on ordinary photos in folders by expression, as ``mien predict`` processes them."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mien._utils.files import atomic
from mien.data.classes import class_key
from mien.data.walk import no_images, walk_files
from mien.data.writers import write_rows
from mien.emotions import LABELS, LabelOrder, number_of
from mien.errors import DataError
from mien.evaluation import plots
from mien.evaluation.metrics import confusion, per_class
from mien.evaluation.statistics import interval
from mien.models.calibration import MEAN5

if TYPE_CHECKING:
    from mien.inference.predictor import Predictor
    from mien.inference.results import Prediction
    from mien.models.bundle import Bundle

NO_FACE = "no face"
"""The last column of the confusion matrix: photos without a detected face, and unreadable ones."""


@dataclass(frozen=True)
class PhotoEvaluation:
    """A model's predictions on labelled photos, and their figures.

    Attributes:
        bundle: the model.
        folder: the folder of the photos.
        detector: the face detector.
        real: int64 (N,), the class of each photo's folder.
        predictions: each photo's prediction; its first face counts.
        figures: ``n``, ``missed`` (photos without a detected face) and ``unreadable``, both wrong in all that follows;
            ``accuracy``, its 95 % bootstrap ``interval``, ``balanced_accuracy`` (the mean recall of the classes that
            have photos), ``mean5`` (of Angry, Happy, Sad, Surprise and Neutral; None unless each has photos),
            ``per_class``, ``confusion`` (row true, column predicted) and its ``columns``. Fractions are 0 to 1.
        seconds: wall time, detection included.
        unread: files in the folder that are no images, counted by suffix.
    """

    bundle: Bundle
    folder: Path
    detector: str
    real: NDArray[np.int64]
    predictions: list[Prediction]
    figures: dict[str, Any]
    seconds: float
    unread: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """All figures, ready for JSON."""
        model = {"name": self.bundle.card.name, "sha256": self.bundle.sha256, "parameters": self.bundle.parameters}
        head = {"model": model, "photos": self.folder.resolve().name, "detector": self.detector, "views": 1}
        head["output"] = self.bundle.card.output
        return head | self.figures | {"unread": self.unread, "seconds": round(self.seconds, 3)}

    def write(self, out: str | Path) -> list[Path]:
        """Write figures, the table of predictions and the confusion matrix into a folder.

        The table has the columns of ``mien predict --csv``, and after the path ``real`` and ``wrong`` (0 or 1).

        Returns:
            The files: ``metrics``, ``predictions`` and ``confusion``.
        """
        metrics, table, plot = photo_files(out)
        labels = self.bundle.card.labels
        with atomic(metrics) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=2) + "\n", encoding="utf-8")
        rows = [self._row(number) for number in range(len(self.real))]
        write_rows(table, list(rows[0]), ([*row.values()] for row in rows))
        title = f"{self.bundle.card.title} on the photos of {self.folder.resolve().name}"
        counts = np.asarray(self.figures["confusion"])
        plots.save(plots.confusion_matrix(counts, labels, title, self.figures["columns"]), plot)
        return [metrics, table, plot]

    def _row(self, number: int) -> dict[str, Any]:
        one, real, labels = self.predictions[number], int(self.real[number]), self.bundle.card.labels
        first = one.to_rows(labels)[0]
        known = {"real": labels[real], "wrong": int(_predicted(one, labels) != real)}
        return {"path": first.pop("path")} | known | first


def photo_files(out: str | Path) -> list[Path]:
    """The files that :meth:`PhotoEvaluation.write` writes into the folder ``out``."""
    return [Path(out) / f"photos-{name}" for name in ("metrics.json", "predictions.csv", "confusion.png")]


def evaluate_photos(
    predictor: Predictor,
    folder: str | Path,
    label_order: LabelOrder | None = None,
    on_photo: Callable[[], None] = lambda: None,
) -> PhotoEvaluation:
    """Evaluate a predictor on folders by expression of ordinary photos, as ``mien predict`` would process them.

    In a photo with several faces the first counts, the one that the detector is most certain of, as in ``mien score``.

    Args:
        predictor: the model, with its detector and settings.
        folder: ``FOLDER/<class>/*``, at any depth: the last folder names the class, in any of the words that
            :func:`mien.load_faces` takes.
        label_order: the data set whose numbers the folders' names are, where they are numbers.
        on_photo: called after each photo.

    Raises:
        DataError: where the folder cannot be read, holds no images, or one of them lies in no folder of a class.
    """
    root, labels, unread = Path(folder), predictor.labels, Counter[str]()
    paths = list(walk_files(str(root), unread=unread))
    if not paths:
        raise no_images(root, unread, "Name a folder with a folder of photos for each expression.")
    real = np.array([_class_of_folder(Path(path), root, labels, label_order) for path in paths], np.int64)
    predictions, start = [], time.perf_counter()
    for one in predictor.stream(paths):
        predictions.append(one)
        on_photo()
    seconds = time.perf_counter() - start
    detector = type(predictor.detector).__name__
    figures = photo_figures(real, predictions, labels)
    return PhotoEvaluation(predictor.bundle, root, detector, real, predictions, figures, seconds, dict(unread))


def photo_figures(real: NDArray[np.int64], predictions: Sequence[Prediction], labels: Sequence[str]) -> dict[str, Any]:
    """The figures of :class:`PhotoEvaluation`.

    Args:
        real: int64 (N,), the true classes.
        predictions: N predictions.
        labels: the classes' names.
    """
    columns = [*labels, NO_FACE]
    predicted = np.array([_predicted(one, labels) for one in predictions], np.int64)
    hits = predicted == real
    classes = per_class(real, predicted, columns)
    classes.pop(NO_FACE)
    recalls = [one["recall"] for one in classes.values() if one["support"]]
    five = [classes[emotion.label] for emotion in MEAN5] if tuple(labels) == LABELS else []
    complete = bool(five) and all(one["support"] for one in five)
    return {
        "n": len(real),
        "missed": sum(not one.faces and one.error is None for one in predictions),
        "unreadable": sum(one.error is not None for one in predictions),
        "accuracy": float(hits.mean()),
        "interval": interval(hits),
        "balanced_accuracy": float(np.mean(recalls)),
        "mean5": float(np.mean([one["recall"] for one in five])) if complete else None,
        "per_class": classes,
        "columns": columns,
        "confusion": confusion(real, predicted, len(columns))[:-1].tolist(),
    }


def _predicted(one: Prediction, labels: Sequence[str]) -> int:
    """The class of the first face; the number of :data:`NO_FACE` where there is none."""
    shares = one.faces[0].probabilities if one.faces else None
    return len(labels) if shares is None else int(np.argmax([shares[label] for label in labels]))


def _class_of_folder(path: Path, root: Path, labels: tuple[str, ...], order: LabelOrder | None) -> int:
    word, classes = path.parent.name, ", ".join(labels)
    if path.parent == root:
        raise DataError("the photo is in no folder of a class", path, f"The classes are {classes}.")
    if labels != LABELS:
        label = {class_key(name): number for number, name in enumerate(labels)}.get(class_key(word), len(labels))
    elif order is None and number_of(word) is not None:
        raise DataError("data sets number the emotions differently", path.parent, "Name theirs with --label-order.")
    else:
        try:
            label = (order or LabelOrder.FER2013)(word)
        except ValueError:
            label = len(labels)
    if label >= len(labels):
        raise DataError(f"the folder is none of the model's classes ({classes})", path.parent, "Rename or move it.")
    return label
