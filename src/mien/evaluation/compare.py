"""Models, files of predictions and other programs on one test split, beside each other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.faces import Faces, Usage
from mien.data.load import load_faces
from mien.errors import DataError
from mien.evaluation.evaluator import MAJORITY, check_labelled, clean_mask, evaluate, ferplus_agreement
from mien.evaluation.external import Peer
from mien.evaluation.metrics import macro_f1
from mien.evaluation.predictions import SUFFIXES, read_predictions
from mien.evaluation.statistics import mean, paired_difference
from mien.models.load import load_bundle


@dataclass(frozen=True)
class Predictions:
    """One side's predictions for the N faces of a split.

    Attributes:
        name: of the side.
        source: where the predictions come from, ready for JSON.
        predicted: int64 (N,), the predicted classes.
    """

    name: str
    source: dict[str, Any]
    predicted: NDArray[np.int64]


@dataclass(frozen=True)
class Comparison:
    """Several sides on one split.

    Attributes:
        data: name and fingerprint of the whole data set.
        split: the split's name.
        n: its faces.
        clean: how many of them do not occur in Training; None where that is not known.
        rows: a dict for each side: ``name``, ``source``, ``n``, ``accuracy``, ``clean`` (``n`` and ``accuracy``),
            ``macro_f1``, ``ferplus`` (``n`` and ``agreement``; None without votes), and ``against_first``, None for the
            first: on all faces, and under ``clean`` on the clean ones, the ``difference`` of accuracy, its bootstrap
            ``interval`` of 95 %, and ``mcnemar``'s counts and exact p.
    """

    data: dict[str, str]
    split: str
    n: int
    clean: int | None
    rows: list[dict[str, Any]]

    def to_dict(self) -> dict[str, Any]:
        """All figures, ready for JSON."""
        return asdict(self) | {"ferplus_filter": MAJORITY}


def compare(
    sides: Sequence[str | Path | Peer], data: Faces | str | Path, split: str = Usage.PRIVATE_TEST
) -> Comparison:
    """Evaluate every side on one split, and compare each but the first against the first.

    Args:
        sides: models (names, bundles, run folders, exported ONNX files), files of predictions (``.csv``, ``.jsonl``,
            ``.ndjson``: :func:`mien.evaluation.predictions.read_predictions`), and
            :class:`mien.evaluation.external.Peer`.
        data: faces, or any data set that :func:`mien.load_faces` reads.
        split: ``Training``, ``PublicTest``, ``PrivateTest`` or ``test`` (all that is not Training).

    Raises:
        DataError: where there is no side, the faces have other classes than a model or no labels, or predictions do
            not fit them.
        MienError: where the data, a model or a file cannot be read, or a peer fails.
    """
    if not sides:
        raise DataError("nothing to compare", mend="Name models, files of predictions, or a --peer.")
    whole = data if isinstance(data, Faces) else load_faces(data)
    faces = whole.select(split)
    check_labelled(faces)
    clean = clean_mask(whole, faces, split)
    found = [_predictions(side, whole, faces, split) for side in sides]
    hits = [one.predicted == faces.emotion for one in found]
    rows = [
        {"name": name}
        | _figures(one, faces, hit, clean)
        | {"against_first": None if one is found[0] else _against(hits[0], hit, clean)}
        for name, one, hit in zip(_unique_names(found), found, hits, strict=True)
    ]
    about = {"name": whole.name, "fingerprint": whole.fingerprint}
    return Comparison(about, split, len(faces), None if clean is None else int(clean.sum()), rows)


def _predictions(side: str | Path | Peer, whole: Faces, faces: Faces, split: str) -> Predictions:
    if isinstance(side, Peer):
        predicted, source = side.predict(faces)
        return Predictions(side.name, {"kind": "peer"} | source, predicted)
    path = Path(side)
    if path.suffix.lower() in SUFFIXES:
        predicted = read_predictions(path, faces)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return Predictions(path.stem, {"kind": "answers", "file": path.name, "sha256": digest}, predicted)
    bundle = load_bundle(side)
    found = evaluate(bundle, whole, split)
    source = {"kind": "model", "sha256": bundle.sha256, "parameters": bundle.parameters, "output": bundle.card.output}
    return Predictions(bundle.card.name, source, found.predicted)


def _unique_names(sides: Sequence[Predictions]) -> list[str]:
    """The sides' names, with a number behind one that an earlier side has."""
    names: list[str] = []
    for one in sides:
        numbered = (f"{one.name} ({number})" for number in count(2))
        names.append(next(name for name in chain([one.name], numbered) if name not in names))
    return names


def _figures(
    one: Predictions, faces: Faces, hits: NDArray[np.bool_], clean: NDArray[np.bool_] | None
) -> dict[str, Any]:
    return {
        "source": one.source,
        "n": len(faces),
        "accuracy": float(hits.mean()),
        "clean": None if clean is None else {"n": int(clean.sum()), "accuracy": mean(hits[clean])},
        "macro_f1": macro_f1(np.eye(len(faces.labels))[one.predicted], faces.emotion),
        "ferplus": None if faces.votes is None else ferplus_agreement(one.predicted, faces),
    }


def _against(first: NDArray[np.bool_], other: NDArray[np.bool_], clean: NDArray[np.bool_] | None) -> dict[str, Any]:
    on_clean = None
    if clean is not None and clean.any():
        on_clean = asdict(paired_difference(first[clean], other[clean]))
    return asdict(paired_difference(first, other)) | {"clean": on_clean}
