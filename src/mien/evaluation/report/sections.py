"""What a report says, as numbers: each part, or a :class:`Missing` that says why it cannot be shown."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
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
from mien.evaluation.statistics import Paired, interval, mcnemar
from mien.models.bundle import Bundle
from mien.models.load import load_bundle

TESTS = (Usage.PUBLIC_TEST, Usage.PRIVATE_TEST)


@dataclass(frozen=True)
class Missing:
    """A part that cannot be shown."""

    why: str


@dataclass(frozen=True)
class Evaluated:
    """A model on one split, with intervals.

    Attributes:
        evaluation: answers and figures.
        hits: bool (N,), which faces it names rightly.
        clean: bool (N,), which faces do not also stand in Training; None where that is not known.
        accuracy: the accuracy's 95 % bootstrap interval; None for a single face.
        clean_accuracy: the same on the clean faces.
    """

    evaluation: Evaluation
    hits: NDArray[np.bool_]
    clean: NDArray[np.bool_] | None
    accuracy: tuple[float, float] | None
    clean_accuracy: tuple[float, float] | None

    def to_dict(self) -> dict[str, Any]:
        """All figures, ready for JSON."""
        return self.evaluation.to_dict() | {"interval": self.accuracy, "clean_interval": self.clean_accuracy}


@dataclass(frozen=True)
class Model:
    """A bundle on all splits of a report."""

    bundle: Bundle
    splits: dict[str, Evaluated | Missing]

    @property
    def shown(self) -> dict[str, Evaluated]:
        """The splits on which it could be judged."""
        return {name: one for name, one in self.splits.items() if isinstance(one, Evaluated)}


@dataclass(frozen=True)
class Rival:
    """Another bundle beside the reported one.

    Attributes:
        model: what it is and does.
        paired: for each split, both models on the same faces; the reported one comes first.
        difference: for each split, its accuracy less the reported one's, and the 95 % bootstrap interval of that.
    """

    model: Model
    paired: dict[str, Paired]
    difference: dict[str, tuple[float, tuple[float, float] | None]]


def split_names(faces: Faces, wanted: str | None) -> list[str]:
    """Both test splits, test faces of an unknown split where there are some, and the wanted split.

    Raises:
        DataError: where the wanted one is none of the splits that a data set may have.
    """
    if wanted is not None and wanted not in list(Usage):
        raise DataError(f"there is no split {wanted!r}", mend=f"Choose one of {', '.join(Usage)}.")
    unknown = [Usage.TEST] if (faces.usage == USAGES.index(Usage.TEST)).any() else []
    return list(dict.fromkeys(map(str, [*TESTS, *unknown, *([wanted] if wanted else [])])))


def evaluate_split(bundle: Bundle, faces: Faces, names: Sequence[str]) -> Model:
    """Judge a bundle on splits; on those where that cannot be done, say why.

    Raises:
        DataError: where it can be done on none.
    """
    splits: dict[str, Evaluated | Missing] = {}
    for name in names:
        try:
            splits[name] = _judged(evaluate(bundle, faces, name), faces)
        except DataError as error:
            splits[name] = Missing(str(error))
    model = Model(bundle, splits)
    if not model.shown:
        whys = dict.fromkeys(one.why for one in splits.values() if isinstance(one, Missing))
        raise DataError(f"no split can be shown: {'; '.join(whys)}", bundle.card.name)
    return model


def _judged(found: Evaluation, whole: Faces) -> Evaluated:
    hits = found.predicted == found.faces.emotion
    training = whole.usage == USAGES.index(Usage.TRAINING)
    clean = None if found.figures["clean"] is None else found.faces.clean(whole.take(training))
    return Evaluated(found, hits, clean, interval(hits), None if clean is None else interval(hits[clean]))


def compare(model: Model, others: Sequence[str | Path], faces: Faces) -> list[Rival | Missing]:
    """Judge other bundles on the same splits, and test the difference; what cannot be compared says why."""
    return [_rival(model, other, faces) for other in others]


def _rival(model: Model, other: str | Path, faces: Faces) -> Rival | Missing:
    try:
        rival = evaluate_split(load_bundle(other), faces, list(model.shown))
    except MienError as error:
        return Missing(str(error))
    pairs = {name: (model.shown[name].hits, one.hits) for name, one in rival.shown.items()}
    gains = {name: second.astype(int) - first for name, (first, second) in pairs.items()}
    return Rival(
        rival,
        {name: mcnemar(*pair) for name, pair in pairs.items()},
        {name: (float(gain.mean()), interval(gain)) for name, gain in gains.items()},
    )


def read_history(bundle: Bundle) -> list[dict[str, Any]] | Missing:
    """The training history that lies beside a bundle, where it is that bundle's."""
    path = None if bundle.path is None else bundle.path.parent / "history.csv"
    if path is None or not path.is_file():
        return Missing("no history.csv lies beside the bundle; mien train leaves one in the run's folder")
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = [_row(line) for line in csv.DictReader(file)]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        return Missing(f"history.csv beside the bundle is unreadable ({type(error).__name__}: {error})")
    epochs = bundle.card.provenance.get("epochs")
    if not rows or epochs != len(rows):
        return Missing(
            f"history.csv beside the bundle is of another run: {len(rows)} epochs, the bundle's had {epochs}"
        )
    return rows


def _row(line: dict[str, str]) -> dict[str, Any]:
    figures = ("lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds")
    return {"phase": line["phase"], "epoch": int(line["epoch"])} | {name: float(line[name]) for name in figures}


def roles(bundle: Bundle) -> dict[str, str]:
    """The parts that splits played in training: ``train``, ``validation`` and ``test``, as far as the bundle knows."""
    found = bundle.card.provenance.get("recipe", {}).get("data", {})
    return {str(role): str(split) for role, split in found.items()}


def label_counts(faces: Faces, splits: Sequence[str]) -> dict[str, dict[str, int]] | Missing:
    """How many faces of each class several splits have."""
    try:
        return {split: faces.select(split).label_counts() for split in splits}
    except DataError as error:
        return Missing(str(error))


@dataclass(frozen=True)
class Doubt:
    """Where votes make labels suspect, and what people saw.

    Attributes:
        suspect: int64 (M,), the faces with suspect labels, the surest first
            (:func:`mien.data.quality.label_noise.by_votes`).
        figures: ``suspects``, ``accuracy_suspect``, ``accuracy_rest``, ``errors``, ``errors_suspect``; of the faces
            on which most voters agree ``clear``, ``label_agrees``, ``model_agrees``, and of the errors among these
            ``clear_errors``, ``errors_seen_as_model`` (most people see what the model says),
            ``errors_seen_as_label`` and ``errors_seen_otherwise``. Accuracies and agreements are None where there is
            no face.
    """

    suspect: NDArray[np.int64]
    figures: dict[str, Any]


@dataclass(frozen=True)
class OwnDoubt:
    """Which labels the model itself doubts, though it did not learn from them.

    Attributes:
        suspect: int64 (M,), these faces, the surest first (:func:`mien.data.quality.label_noise.by_model`).
        figures: ``suspects``; ``contradicted``, of how many of these the official FER+ majority is another emotion
            (None without votes), and the same part of all faces, ``contradicted_of_all``.
    """

    suspect: NDArray[np.int64]
    figures: dict[str, Any]


def own_doubt(judged: Evaluated) -> OwnDoubt | Missing:
    """Look for labels that a model's answers speak against, on a split that it was not trained on."""
    found = judged.evaluation
    if found.split == roles(found.bundle).get("train", Usage.TRAINING):
        return Missing(f"the model was trained on {found.split}, and has learned to agree with its wrong labels")
    everything = np.ones(len(found.faces), dtype=bool)
    suspect = np.array([one.face for one in by_model(found.faces, found.probabilities, everything)], np.int64)
    figures: dict[str, Any] = {"suspects": len(suspect), "contradicted": None, "contradicted_of_all": None}
    if found.faces.votes is not None and found.faces.labels == LABELS:
        against = conflicts_with_votes(found.faces)
        figures |= {"contradicted": int(against[suspect].sum()), "contradicted_of_all": int(against.sum())}
    return OwnDoubt(suspect, figures)


def doubt(judged: Evaluated) -> Doubt | Missing:
    """Weigh labels, answers and what people saw; needs FER+ votes."""
    faces, hits, said = judged.evaluation.faces, judged.hits, judged.evaluation.predicted
    try:
        suspect = np.array([one.face for one in by_votes(faces)], np.int64)
        seen, clear = faces.majority()
    except DataError as error:
        return Missing(str(error))
    doubted = np.isin(np.arange(len(faces)), suspect)
    wrong = clear & ~hits
    figures = {
        "suspects": len(suspect),
        "accuracy_suspect": _mean(hits[doubted]),
        "accuracy_rest": _mean(hits[~doubted]),
        "errors": int((~hits).sum()),
        "errors_suspect": int((~hits & doubted).sum()),
        "clear": int(clear.sum()),
        "label_agrees": _mean((seen == faces.emotion)[clear]),
        "model_agrees": _mean((seen == said)[clear]),
        "clear_errors": int(wrong.sum()),
        "errors_seen_as_model": int((wrong & (seen == said)).sum()),
        "errors_seen_as_label": int((wrong & (seen == faces.emotion)).sum()),
        "errors_seen_otherwise": int((wrong & (seen != said) & (seen != faces.emotion)).sum()),
    }
    return Doubt(suspect, figures)


def _mean(values: NDArray[np.bool_]) -> float | None:
    return float(values.mean()) if len(values) else None
