"""Models, files of answers and other programs on one test split, beside each other."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
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
from mien.evaluation.statistics import interval, mcnemar
from mien.models.load import load_bundle


@dataclass(frozen=True)
class Answers:
    """What one side says of the N faces of a split.

    Attributes:
        name: what to call it.
        source: where the answers come from, ready for JSON.
        label: int64 (N,), a class each: which label it expects.
        seen: int64 (N,), a class each: what it thinks that people see; the same but for models with a second head.
    """

    name: str
    source: dict[str, Any]
    label: NDArray[np.int64]
    seen: NDArray[np.int64]


@dataclass(frozen=True)
class Comparison:
    """Several sides on one split.

    Attributes:
        data: name and fingerprint of the whole data set.
        split: the split's name.
        n: its faces.
        clean: how many of them do not also stand in Training; None where that is not known.
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
    """Judge every side on one split, and each but the first against the first.

    Args:
        sides: models (names, bundles, run folders, exported ONNX files), files of answers (``.csv``, ``.jsonl``,
            ``.ndjson``: :func:`mien.evaluation.predictions.read_predictions`), and
            :class:`mien.evaluation.external.Peer`.
        data: faces, or any data set that :func:`mien.load_faces` reads.
        split: ``Training``, ``PublicTest``, ``PrivateTest`` or ``test`` (all that is not Training).

    Raises:
        DataError: where there is no side, the faces have other classes than a model or no labels, or answers do not
            fit them.
        MienError: where the data, a model or a file cannot be read, or a peer fails.
    """
    if not sides:
        raise DataError("nothing to compare", mend="Name models, files of answers, or a --peer.")
    whole = data if isinstance(data, Faces) else load_faces(data)
    faces = whole.select(split)
    check_labelled(faces)
    clean = clean_mask(whole, faces, split)
    answers = _named_apart([_answers(side, whole, faces, split) for side in sides])
    hits = [one.label == faces.emotion for one in answers]
    rows = [
        _figures(one, faces, hit, clean) | {"against_first": _against(hits[0], hit, clean) if place else None}
        for place, (one, hit) in enumerate(zip(answers, hits, strict=True))
    ]
    about = {"name": whole.name, "fingerprint": whole.fingerprint}
    return Comparison(about, split, len(faces), None if clean is None else int(clean.sum()), rows)


def _answers(side: str | Path | Peer, whole: Faces, faces: Faces, split: str) -> Answers:
    if isinstance(side, Peer):
        said, source = side.ask(faces)
        return Answers(side.name, {"kind": "peer"} | source, said, said)
    path = Path(side)
    if path.suffix.lower() in SUFFIXES:
        said = read_predictions(path, faces)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return Answers(path.stem, {"kind": "answers", "file": path.name, "sha256": digest}, said, said)
    bundle = load_bundle(side)
    found = evaluate(bundle, whole, split)
    source = {"kind": "model", "sha256": bundle.sha256, "parameters": bundle.parameters}
    return Answers(bundle.card.name, source, found.predicted, found.shown.argmax(1))


def _named_apart(answers: Sequence[Answers]) -> list[Answers]:
    """The same, with a number behind a name that an earlier one has."""
    names: list[str] = []
    for one in answers:
        name, number = one.name, 1
        while name in names:
            number += 1
            name = f"{one.name} ({number})"
        names.append(name)
    return [Answers(name, one.source, one.label, one.seen) for name, one in zip(names, answers, strict=True)]


def _figures(one: Answers, faces: Faces, hits: NDArray[np.bool_], clean: NDArray[np.bool_] | None) -> dict[str, Any]:
    return {
        "name": one.name,
        "source": one.source,
        "n": len(faces),
        "accuracy": float(hits.mean()),
        "clean": None if clean is None else {"n": int(clean.sum()), "accuracy": _mean(hits[clean])},
        "macro_f1": macro_f1(np.eye(len(faces.labels))[one.label], faces.emotion),
        "ferplus": None if faces.votes is None else ferplus_agreement(one.seen, faces),
    }


def _against(first: NDArray[np.bool_], other: NDArray[np.bool_], clean: NDArray[np.bool_] | None) -> dict[str, Any]:
    on_clean = None if clean is None or not clean.any() else _paired(first[clean], other[clean])
    return _paired(first, other) | {"clean": on_clean}


def _paired(first: NDArray[np.bool_], other: NDArray[np.bool_]) -> dict[str, Any]:
    gain = other.astype(np.int64) - first
    return {"difference": float(gain.mean()), "interval": interval(gain), "mcnemar": asdict(mcnemar(first, other))}


def _mean(hits: NDArray[np.bool_]) -> float | None:
    return float(hits.mean()) if len(hits) else None
