"""A seven-class model on FER+'s eight classes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.faces import Faces
from mien.data.ferplus import DROPPED, SEEN, distribution_targets, majority_targets
from mien.emotions import FERPLUS_OF_EMOTION, LABELS
from mien.errors import DataError
from mien.evaluate.metrics import TINY, confusion, per_class

CONTEMPT = SEEN.index("contempt")
"""The one of FER+'s classes that FER2013 does not have."""


def eight_classes(probabilities: NDArray[np.floating]) -> NDArray[np.float64]:
    """Seven probabilities, float (N, 7) in mien's order, as FER+'s eight, float64 (N, 8): contempt gets 0."""
    eight = np.zeros((len(probabilities), len(SEEN)))
    eight[:, list(FERPLUS_OF_EMOTION)] = probabilities
    return eight


def ferplus_figures(probabilities: NDArray[np.floating], faces: Faces) -> dict[str, Any]:
    """How well a seven-class model does on FER+, by the official filtering (:mod:`mien.data.ferplus`).

    Such a model cannot say contempt, so every face of contempt counts as a mistake.

    Args:
        probabilities: float (N, 7), in the order of :class:`mien.Emotion`, rows summing to 1.
        faces: N faces with votes.

    Returns:
        ``classes`` (8), ``n`` (faces with a majority), ``left_out``, ``accuracy`` of the majority, ``contempt`` (faces
        of contempt, all of them mistakes), ``accuracy_without_contempt``, ``macro_f1`` (mean of the eight classes' F1),
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
    eight, seen = eight_classes(probabilities), majority_targets(faces.votes)
    clear = seen != DROPPED
    true, said = seen[clear], eight[clear].argmax(1)
    classes = per_class(true, said, SEEN) if clear.any() else {}
    scores = [one["f1"] for one in classes.values()]
    return {
        "classes": len(SEEN),
        "n": int(clear.sum()),
        "left_out": int((~clear).sum()),
        "accuracy": _mean(true == said),
        "contempt": int((true == CONTEMPT).sum()),
        "accuracy_without_contempt": _mean((true == said)[true != CONTEMPT]),
        "macro_f1": _mean(np.array(scores)),
        **_cross_entropy(eight, distribution_targets(faces.votes)),
        "per_class": classes,
        "confusion": confusion(true, said, len(SEEN)).tolist() if clear.any() else [],
    }


def _cross_entropy(eight: NDArray[np.float64], targets: NDArray[np.float64]) -> dict[str, Any]:
    known = targets.sum(1) > 0
    nats = -(targets[known] * np.log(np.clip(eight[known], TINY, 1.0))).sum(1)
    return {"cross_entropy": _mean(nats), "distributions": int(known.sum())}


def _mean(values: NDArray[Any]) -> float | None:
    return float(values.mean()) if len(values) else None
