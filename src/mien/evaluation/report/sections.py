"""The figures of a report: each part, or a :class:`Missing` with the reason why it cannot be shown."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.faces import USAGES, Faces, Usage
from mien.data.ferplus import conflicts_with_votes
from mien.data.quality.label_noise import by_model, by_votes
from mien.emotions import LABELS
from mien.errors import DataError, MienError
from mien.evaluation.evaluator import Evaluation, evaluate
from mien.evaluation.statistics import Difference, mean, paired_difference
from mien.models.bundle import Bundle
from mien.models.load import load_bundle

TESTS = (Usage.PUBLIC_TEST, Usage.PRIVATE_TEST)


@dataclass(frozen=True)
class Missing:
    """A part that cannot be shown."""

    why: str

    def to_dict(self) -> dict[str, Any]:
        """The reason, ready for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class EvaluatedModel:
    """A bundle on all splits of a report."""

    bundle: Bundle
    splits: dict[str, Evaluation | Missing]

    @property
    def shown(self) -> dict[str, Evaluation]:
        """The splits on which it could be evaluated."""
        return {name: one for name, one in self.splits.items() if isinstance(one, Evaluation)}

    def to_dict(self) -> dict[str, Any]:
        """For each split the figures with their intervals, or why there are none; ready for JSON."""
        return {
            name: one.to_dict() | ({} if isinstance(one, Missing) else one.intervals())
            for name, one in self.splits.items()
        }


@dataclass(frozen=True)
class ComparedModel:
    """Another bundle beside the reported one.

    Attributes:
        model: the other bundle on the same splits.
        differences: for each split, both models on the same faces; the reported one comes first.
    """

    model: EvaluatedModel
    differences: dict[str, Difference]

    def to_dict(self) -> dict[str, Any]:
        """All figures, ready for JSON."""
        return {
            "model": next(iter(self.model.shown.values())).to_dict()["model"],
            "splits": self.model.to_dict(),
            "difference": {name: asdict(one) for name, one in self.differences.items()},
        }


def split_names(faces: Faces, split: str | None) -> list[str]:
    """Both test splits, test faces of an unknown split where there are some, and the given split.

    Raises:
        DataError: where the given one is none of the splits that a data set may have.
    """
    if split is not None and split not in list(Usage):
        raise DataError(f"there is no split {split!r}", mend=f"Choose one of {', '.join(Usage)}.")
    unknown = [Usage.TEST] if (faces.usage == USAGES.index(Usage.TEST)).any() else []
    return list(dict.fromkeys(map(str, [*TESTS, *unknown, *([split] if split else [])])))


def evaluate_splits(bundle: Bundle, faces: Faces, names: Sequence[str]) -> EvaluatedModel:
    """Evaluate a bundle on splits; for those where that cannot be done, give the reason.

    Raises:
        DataError: where it can be done on none.
    """
    splits: dict[str, Evaluation | Missing] = {}
    for name in names:
        try:
            splits[name] = evaluate(bundle, faces, name)
        except DataError as error:
            splits[name] = Missing(str(error))
    model = EvaluatedModel(bundle, splits)
    if not model.shown:
        whys = dict.fromkeys(one.why for one in splits.values() if isinstance(one, Missing))
        raise DataError(f"no split can be shown: {'; '.join(whys)}", bundle.card.name)
    return model


def compare(model: EvaluatedModel, other: str | Path, faces: Faces) -> ComparedModel | Missing:
    """Evaluate another bundle on the same splits, and test the difference."""
    try:
        found = evaluate_splits(load_bundle(other), faces, list(model.shown))
    except MienError as error:
        return Missing(str(error))
    return ComparedModel(
        found, {name: paired_difference(model.shown[name].hits, one.hits) for name, one in found.shown.items()}
    )


def read_history(bundle: Bundle) -> list[dict[str, Any]] | Missing:
    """The training history that lies beside a bundle, where it is that bundle's."""
    path = None if bundle.path is None else bundle.path.parent / "history.csv"
    if path is None or not path.is_file():
        return Missing("no history.csv lies beside the bundle; mien train leaves one in the run's folder")
    figures = ("lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [
                {"phase": line["phase"], "epoch": int(line["epoch"])} | {name: float(line[name]) for name in figures}
                for line in csv.DictReader(file)
            ]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        return Missing(f"history.csv beside the bundle is unreadable ({type(error).__name__}: {error})")
    epochs = bundle.card.provenance.get("epochs")
    if not rows or epochs != len(rows):
        return Missing(
            f"history.csv beside the bundle is of another run: {len(rows)} epochs, the bundle's had {epochs}"
        )
    return rows


def roles(bundle: Bundle) -> dict[str, str]:
    """The splits of the bundle's recipe by their role: ``train``, ``validation`` and ``test``, as far as known."""
    found = bundle.card.provenance.get("recipe", {}).get("data", {})
    return {str(role): str(split) for role, split in found.items()}


def label_counts(faces: Faces, splits: Sequence[str]) -> dict[str, dict[str, int]] | Missing:
    """How many faces of each class several splits have."""
    try:
        return {split: faces.select(split).label_counts() for split in splits}
    except DataError as error:
        return Missing(str(error))


@dataclass(frozen=True)
class SuspectLabels:
    """Labels that are probably wrong.

    Attributes:
        faces: int64 (M,), their faces, the most suspect first.
        figures: see the function that found them.
    """

    faces: NDArray[np.int64]
    figures: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The figures, ready for JSON."""
        return self.figures


def suspects_by_model(evaluation: Evaluation) -> SuspectLabels | Missing:
    """Labels that the model's probabilities contradict, on a split that it was not trained on.

    Returns:
        As figures ``suspects``; ``contradicted``, for how many of these the official FER+ majority is another emotion
        (None without votes), and ``contradicted_of_all``, the same among all faces.
    """
    faces = evaluation.faces
    if evaluation.split == roles(evaluation.bundle).get("train", Usage.TRAINING):
        return Missing(f"the model was trained on {evaluation.split}, and has learned to agree with its wrong labels")
    found = by_model(faces, evaluation.probabilities, np.ones(len(faces), dtype=bool))
    suspect = np.array([one.face for one in found], np.int64)
    figures: dict[str, Any] = {"suspects": len(suspect), "contradicted": None, "contradicted_of_all": None}
    if faces.votes is not None and faces.labels == LABELS:
        against = conflicts_with_votes(faces)
        figures |= {"contradicted": int(against[suspect].sum()), "contradicted_of_all": int(against.sum())}
    return SuspectLabels(suspect, figures)


def suspects_by_votes(evaluation: Evaluation) -> SuspectLabels | Missing:
    """Labels that FER+ votes contradict, and the model's errors beside them.

    Returns:
        As figures ``suspects``, ``accuracy_suspect``, ``accuracy_rest``, ``errors``, ``errors_suspect``; of the faces
        on which most voters agree ``clear``, ``label_agrees``, ``model_agrees``, and of the errors among these
        ``clear_errors``, ``errors_seen_as_model`` (the majority is the predicted class), ``errors_seen_as_label`` and
        ``errors_seen_otherwise``. Accuracies and agreements are None where there is no face.
    """
    faces, hits, predicted = evaluation.faces, evaluation.hits, evaluation.predicted
    try:
        faces_found = np.array([one.face for one in by_votes(faces)], np.int64)
        majority, clear = faces.majority()
    except DataError as error:
        return Missing(str(error))
    suspect = np.isin(np.arange(len(faces)), faces_found)
    wrong, as_label, as_model = clear & ~hits, majority == faces.emotion, majority == predicted
    figures = {
        "suspects": len(faces_found),
        "accuracy_suspect": mean(hits[suspect]),
        "accuracy_rest": mean(hits[~suspect]),
        "errors": int((~hits).sum()),
        "errors_suspect": int((~hits & suspect).sum()),
        "clear": int(clear.sum()),
        "label_agrees": mean(as_label[clear]),
        "model_agrees": mean(as_model[clear]),
        "clear_errors": int(wrong.sum()),
        "errors_seen_as_model": int((wrong & as_model).sum()),
        "errors_seen_as_label": int((wrong & as_label).sum()),
        "errors_seen_otherwise": int((wrong & ~as_model & ~as_label).sum()),
    }
    return SuspectLabels(faces_found, figures)
