"""Evaluate a bundle on a split: the same ONNX Runtime session and preprocessing that prediction uses."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien._utils.files import atomic
from mien.data.faces import USAGES, Faces, Usage
from mien.data.load import load_faces
from mien.data.shards.reader import Shards
from mien.emotions import LABELS, Output
from mien.errors import DataError
from mien.evaluation import plots
from mien.evaluation.groups import group_figures, read_groups
from mien.evaluation.metrics import ece, summarize
from mien.evaluation.predictions import predictions_csv
from mien.evaluation.statistics import interval, mean
from mien.models.bundle import Bundle
from mien.models.calibration import mean_recall
from mien.models.load import load_bundle
from mien.models.onnx.session import Session, softmax
from mien.models.spec import Head

HEADS = {Head.LABELS: Output.FER2013.value, Head.VOTES: Output.FERPLUS.value}
"""The outputs that are a head alone."""
MAJORITY = "faces for which one of the seven emotions got more than half of all FER+ votes"


@dataclass(frozen=True)
class Evaluation:
    """A model's predictions on a split, and their figures.

    Attributes:
        bundle: the model.
        data: name and fingerprint of the whole data set.
        split: the split's name.
        faces: the split's faces, N of them.
        probabilities: float64 (N, classes), calibrated, as ``mien predict`` shows them.
        clean: bool (N,), which faces' pixels do not occur in Training; None where that is not known.
        figures: what :func:`mien.evaluation.metrics.summarize` gives, of the model's output; ``ferplus``, the same
            output against the FER+ majority; and ``heads``, the same of each of two heads alone.
        seconds: wall time of the N predictions.
    """

    bundle: Bundle
    data: dict[str, str]
    split: str
    faces: Faces
    probabilities: NDArray[np.float64]
    clean: NDArray[np.bool_] | None
    figures: dict[str, Any]
    seconds: float

    @property
    def accuracy(self) -> float:
        """The fraction of faces classified correctly, single view."""
        return float(self.figures["accuracy"])

    @property
    def predicted(self) -> NDArray[np.int64]:
        """int64 (N,): the most probable class of each face."""
        predicted: NDArray[np.int64] = self.probabilities.argmax(1)
        return predicted

    @property
    def hits(self) -> NDArray[np.bool_]:
        """bool (N,): which faces are classified correctly."""
        hits: NDArray[np.bool_] = self.predicted == self.faces.emotion
        return hits

    @cached_property
    def interval(self) -> tuple[float, float] | None:
        """The accuracy's 95 % bootstrap interval; None for a single face."""
        return interval(self.hits)

    @cached_property
    def clean_interval(self) -> tuple[float, float] | None:
        """The same on the clean faces."""
        return None if self.clean is None else interval(self.hits[self.clean])

    def intervals(self) -> dict[str, Any]:
        """Both, ready for JSON."""
        return {"interval": self.interval, "clean_interval": self.clean_interval}

    def to_dict(self) -> dict[str, Any]:
        """All figures, ready for JSON."""
        model = {
            "name": self.bundle.card.name,
            "sha256": self.bundle.sha256,
            "parameters": self.bundle.parameters,
        }
        head: dict[str, Any] = {"model": model, "output": self.bundle.card.output}
        head |= {"data": self.data, "split": self.split, "views": 1}
        return head | self.figures | {"seconds": round(self.seconds, 3)}

    def write(self, out: str | Path, title: str | None = None) -> list[Path]:
        """Write figures, plots and the table of predictions into a folder, each file named by the split.

        Returns:
            The files: ``metrics``, ``predictions``, ``confusion``, ``classes`` and ``labels``.
        """
        files, name = evaluation_files(out, self.split), self.faces.labels
        title = title or f"{self.bundle.card.title} on {self.data['name']}, {self.split}"
        with atomic(files["metrics"]) as temporary:
            temporary.write_text(json.dumps(self.to_dict(), indent=2) + "\n")
        predictions_csv(files["predictions"], self.faces, self.probabilities)
        true = self.faces.label_counts()
        predicted = dict(zip(name, np.bincount(self.predicted, minlength=len(name)).tolist(), strict=True))
        figures = {
            "confusion": plots.confusion_matrix(np.asarray(self.figures["confusion"]), name, title),
            "classes": plots.per_class_table(self.figures["per_class"], title),
            "labels": plots.label_distributions(true, predicted, ("True labels", "Predicted labels"), title),
        }
        for stem, figure in figures.items():
            plots.save(figure, files[stem])
        return list(files.values())


def evaluation_files(out: str | Path, split: str) -> dict[str, Path]:
    """The files that :meth:`Evaluation.write` writes into the folder ``out``, by what they hold."""
    kinds = {"metrics": "json", "predictions": "csv", "confusion": "png", "classes": "png", "labels": "png"}
    return {stem: Path(out) / f"{split}-{stem}.{suffix}" for stem, suffix in kinds.items()}


def evaluate(
    model: Bundle | str | Path,
    data: Faces | Shards | str | Path,
    split: str = "PublicTest",
    groups: str | Path | None = None,
) -> Evaluation:
    """Evaluate a model on one split: one model, single view, no test-time augmentation.

    Args:
        model: a bundle, its file, or a run folder.
        data: faces, or any data set that :func:`mien.load_faces` reads; or shards, of which only the split is held.
        split: ``Training``, ``PublicTest``, ``PrivateTest`` or ``test`` (all that is not Training).
        groups: a table of each face's groups (:func:`mien.evaluation.groups.read_groups`); their figures are under
            ``groups``.

    Raises:
        MienError: where the model, the data or the groups cannot be read, or the split has unlabelled faces or other
            classes.
    """
    bundle = model if isinstance(model, Bundle) else load_bundle(model)
    whole = data if isinstance(data, Faces | Shards) else load_faces(data)
    faces = whole.select(split)
    if faces.labels != bundle.card.labels:
        raise DataError(f"its classes are not the model's ({', '.join(bundle.card.labels)})", faces.name)
    check_labelled(faces)
    members = None if groups is None else read_groups(groups, _in_memory(whole), faces)
    session = Session(bundle)
    start = time.perf_counter()
    logits = session.logits(faces.images)
    seconds = time.perf_counter() - start
    probabilities = softmax(bundle.card.calibration.combine(logits))
    clean = clean_mask(whole, faces, split)
    figures = summarize(probabilities, faces.emotion, bundle.card.labels, clean)
    figures["ferplus"] = _ferplus(probabilities, faces)
    figures["heads"] = _heads(bundle, logits, faces, clean)
    if members is not None:
        figures["groups"] = group_figures(members, faces, probabilities)
    name = {"name": whole.name, "fingerprint": whole.fingerprint}
    return Evaluation(bundle, name, split, faces, probabilities, clean, figures, seconds)


def _ferplus(probabilities: NDArray[np.float64], faces: Faces) -> dict[str, Any] | None:
    """How probabilities fit the FER+ majority: :func:`ferplus_agreement`, and the expected calibration error."""
    if faces.votes is None or faces.labels != LABELS:
        return None
    majority, clear = faces.majority()
    error = ece(probabilities[clear], majority[clear]) if clear.any() else None
    return {"filter": MAJORITY, **ferplus_agreement(probabilities.argmax(1), faces), "ece": error}


def _heads(
    bundle: Bundle, logits: dict[Head, NDArray[np.float32]], faces: Faces, clean: NDArray[np.bool_] | None
) -> dict[str, Any]:
    """Of each of two heads alone, calibrated, some of the figures."""
    found: dict[str, Any] = {}
    for head, rows in logits.items() if len(logits) > 1 else ():
        probabilities = softmax(rows / bundle.card.calibration.of(head))
        figures = summarize(probabilities, faces.emotion, bundle.card.labels, clean)
        figures["ferplus"] = _ferplus(probabilities, faces)
        kept = ("accuracy", "macro_f1", "nll", "ece", "clean", "ferplus")
        found[HEADS[head]] = {name: figures[name] for name in kept}
    return found


def ferplus_agreement(predicted: NDArray[np.int64], faces: Faces) -> dict[str, Any]:
    """The agreement of predictions with the majority of FER+ votes, on faces that have one: :data:`MAJORITY`.

    Args:
        predicted: int64 (N,), 0 to 6.
        faces: N faces.

    Returns:
        ``n``, the faces with a majority, ``agreement`` on these, and ``balanced``, the mean of the classes' agreement,
        0 to 1; None where there is none.

    Raises:
        DataError: where the faces have no votes, or other classes than the seven emotions.
    """
    majority, clear = faces.majority()
    balanced = mean_recall(predicted[clear], majority[clear]) if clear.any() else None
    return {"n": int(clear.sum()), "agreement": mean(predicted[clear] == majority[clear]), "balanced": balanced}


def _in_memory(faces: Faces | Shards) -> Faces:
    if isinstance(faces, Shards):
        raise DataError("groups need faces in memory, and these are shards", faces.root, "Name the data itself.")
    return faces


def check_labelled(faces: Faces) -> None:
    """Refuse faces without labels.

    Raises:
        DataError: where there are some.
    """
    unlabelled = int((faces.emotion < 0).sum())
    if unlabelled:
        raise DataError(f"{unlabelled:,} faces have no label to compare with", faces.name, "Use mien predict for them.")


def clean_mask(whole: Faces | Shards, faces: Faces, split: str) -> NDArray[np.bool_] | None:
    """Which faces' pixels do not occur in Training; None where that is not known.

    Args:
        whole: the data set.
        faces: its N faces of ``split``.
        split: the split's name.

    Returns:
        bool (N,), or None for Training itself and where the set has no Training faces.
    """
    if isinstance(whole, Shards):
        return None if split == Usage.TRAINING or Usage.TRAINING not in whole.splits() else whole.clean(faces)
    training = whole.usage == USAGES.index(Usage.TRAINING)
    if split == Usage.TRAINING or not training.any():
        return None
    return faces.clean(whole.take(training))
