"""A seven-class model on FER+'s eight classes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien._utils.files import protect
from mien.data.faces import UNLABELLED, Faces, Usage
from mien.data.ferplus import (
    DROPPED,
    SEEN,
    Votes,
    distribution_targets,
    join_votes,
    majority_targets,
    read_votes,
    summarize_votes,
    write_targets,
)
from mien.data.writers import Layout, convert_faces
from mien.emotions import FERPLUS_OF_EMOTION, LABELS
from mien.errors import DataError
from mien.evaluation.metrics import TINY, confusion, per_class
from mien.evaluation.statistics import mean
from mien.models.bundle import Bundle
from mien.models.load import find_bundle, load_bundle
from mien.models.onnx.session import Session

CONTEMPT = SEEN.index("contempt")
"""The one of FER+'s classes that FER2013 does not have."""


def eight_classes(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Seven probabilities, float (N, 7) in mien's order, as FER+'s eight, float64 (N, 8): contempt gets 0."""
    eight = np.zeros((len(probabilities), len(SEEN)))
    eight[:, list(FERPLUS_OF_EMOTION)] = probabilities
    return eight


def ferplus_figures(probabilities: NDArray[np.floating], faces: Faces) -> dict[str, Any]:
    """How well a seven-class model does on FER+, by the official filtering (:mod:`mien.data.ferplus`).

    Such a model cannot predict contempt, so every face of contempt counts as an error.

    Args:
        probabilities: float (N, 7), in the order of :class:`mien.Emotion`, rows summing to 1.
        faces: N faces with votes.

    Returns:
        ``classes`` (8), ``n`` (faces with a majority), ``left_out``, ``accuracy`` of the majority, ``contempt`` (faces
        of contempt, all of them errors), ``accuracy_without_contempt``, ``macro_f1`` (mean of the eight classes' F1),
        ``cross_entropy`` with the distributions in nats (probabilities clipped at 1e-7) and ``distributions`` (how many
        faces have one), ``per_class`` and ``confusion`` (8 x 8: row FER+, column the model). Figures of no face at all
        are None.

    Raises:
        DataError: where the faces have no votes, or other classes than the seven emotions.
        ValueError: where the shapes do not fit.
    """
    if faces.votes is None:
        raise DataError("it has no FER+ votes", faces.name, "Join them with mien data ferplus.")
    if faces.labels != LABELS:
        raise DataError(f"FER+ is for the seven emotions ({', '.join(LABELS)})", faces.name)
    if probabilities.shape != (len(faces), len(LABELS)):
        raise ValueError(f"probabilities must have the shape {(len(faces), len(LABELS))}, not {probabilities.shape}")
    eight, majority = eight_classes(probabilities), majority_targets(faces.votes)
    clear = majority != DROPPED
    true, predicted = majority[clear], eight[clear].argmax(1)
    classes = per_class(true, predicted, SEEN) if clear.any() else {}
    scores = [one["f1"] for one in classes.values()]
    return {
        "classes": len(SEEN),
        "n": int(clear.sum()),
        "left_out": int((~clear).sum()),
        "accuracy": mean(true == predicted),
        "contempt": int((true == CONTEMPT).sum()),
        "accuracy_without_contempt": mean((true == predicted)[true != CONTEMPT]),
        "macro_f1": mean(np.array(scores)),
        **_cross_entropy(eight, distribution_targets(faces.votes)),
        "per_class": classes,
        "confusion": confusion(true, predicted, len(SEEN)).tolist() if clear.any() else [],
    }


def _cross_entropy(eight: NDArray[np.float64], targets: NDArray[np.float64]) -> dict[str, Any]:
    known = targets.sum(1) > 0
    nats = -(targets[known] * np.log(np.clip(eight[known], TINY, 1.0))).sum(1)
    return {"cross_entropy": mean(nats), "distributions": int(known.sum())}


def run_ferplus(
    faces: Faces,
    *,
    votes: str | Path | None = None,
    out: str | Path | None = None,
    targets: str | Path | None = None,
    model: str | Path | None = None,
) -> dict[str, Any]:
    """Join FER+ to a set, count it, write it, and evaluate a model on the test splits.

    Args:
        faces: the set.
        votes: ``fer2013new.csv``; without it, the votes that the set has.
        out: a ``.parquet`` for the faces with their votes; no other layout has room for them.
        targets: a CSV for both targets (:func:`mien.data.ferplus.write_targets`).
        model: a bundle, its file or a run folder, evaluated on PublicTest and PrivateTest.

    Returns:
        ``name``, ``joined`` (the check of the order), ``splits`` (:func:`mien.data.ferplus.summarize_votes`),
        ``model`` and ``files``, ready for JSON.

    Raises:
        MienError: where a file cannot be read or written, the order of the rows differs, or there are no votes.
    """
    if out is not None and Path(out).suffix.lower() != ".parquet":
        raise DataError("votes are kept in parquet only", out, "Name a .parquet; --targets writes a CSV of targets.")
    protect([out, targets], [votes, model and find_bundle(model)])
    bundle = None if model is None else load_bundle(model)
    joined = None
    if votes is not None:
        found = read_votes(votes)
        faces = join_votes(faces, found)
        joined = _joined(faces, found)
    if faces.votes is None:
        raise DataError("it has no FER+ votes", faces.name, "Name Microsoft's fer2013new.csv with --votes.")
    figures: dict[str, Any] = {"name": faces.name, "joined": joined, "splits": summarize_votes(faces)}
    figures["model"] = None if bundle is None else _evaluate(bundle, faces)
    if targets is not None:
        write_targets(faces, targets)
    if out is not None:
        convert_faces(faces, out, Layout.PARQUET)
    return figures | {"files": [str(path) for path in (targets, out) if path is not None]}


def _joined(faces: Faces, found: Votes) -> dict[str, Any]:
    majority, clear = faces.majority()
    clear &= faces.emotion != UNLABELLED
    return {
        "rows": len(faces),
        "unnamed": int((~found.named[faces.row]).sum()),
        "clear": int(clear.sum()),
        "agreement": mean((majority == faces.emotion)[clear]) or 0.0,
    }


def _evaluate(bundle: Bundle, faces: Faces) -> dict[str, Any]:
    """A model's figures on FER+, by what ``mien predict`` shows, a split at a time."""
    if bundle.card.labels != LABELS:
        raise DataError(f"the model's classes are not the seven emotions: {', '.join(bundle.card.labels)}", bundle.path)
    session = Session(bundle)
    splits = {}
    for name in faces.splits():
        if name != Usage.TRAINING:
            part = faces.select(name)
            splits[name] = ferplus_figures(session.output(part.images), part)
    return {"name": bundle.card.name, "sha256": bundle.sha256, "output": bundle.card.output, "splits": splits}
