"""Figures of merit: pure functions from probabilities and labels.

``probabilities`` is float (N, C), finite, each value in [0, 1] and each row summing to 1 (within 1e-3); ``labels`` is
int (N,), 0 to C - 1; N is at least 1. Every function raises ValueError, saying what is wrong, for anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

TINY = 1e-7
"""Probabilities below this count as this much in :func:`nll`, so one confident mistake costs at most 16.1 nats."""

_SUM_TOLERANCE = 1e-3  # float16 outputs sum to 1 only about this well


class ClassFigures(TypedDict):
    """One class's metrics: fractions 0 to 1 (0 where undefined), and ``support``, its number of faces."""

    precision: float
    recall: float
    f1: float
    support: int


def accuracy(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The fraction of faces whose most probable class is the true one, 0 to 1; of equal ones the first counts."""
    _check(probabilities, labels)
    return float(np.mean(probabilities.argmax(axis=1) == labels))


def macro_f1(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The mean of the classes' F1 scores, 0 to 1, over classes that occur among labels or predictions."""
    _check(probabilities, labels)
    return float(f1_score(labels, probabilities.argmax(axis=1), average="macro", zero_division=0))


def nll(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Mean negative log likelihood of the true class in nats; probabilities are clipped at :data:`TINY`, 1e-7."""
    _check(probabilities, labels)
    true = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.mean(np.log(np.clip(true, TINY, 1.0))))


def ece(probabilities: NDArray[np.floating], labels: NDArray[np.integer], bins: int = 15) -> float:
    """Expected calibration error of the most probable class, 0 to 1.

    Faces are binned by the confidence in their predicted class, in ``bins`` bins ((m - 1) / bins, m / bins] of equal
    width; the result is the mean over faces of their bin's |accuracy - mean confidence|. Guo et al., "On Calibration of
    Modern Neural Networks", 2017, equation 3.

    Raises:
        ValueError: also where ``bins`` is below 1.
    """
    _check(probabilities, labels)
    if bins < 1:
        raise ValueError(f"bins must be at least 1, not {bins}")
    confidence = np.clip(probabilities.max(axis=1).astype(np.float64), 0.0, 1.0)
    hit = probabilities.argmax(axis=1) == labels
    edges = np.linspace(0.0, 1.0, bins + 1)[1:-1]
    which = np.digitize(confidence, edges, right=True)
    # A bin's |accuracy - confidence| times its share of the faces is the sum of its gaps over N.
    return float(np.abs(np.bincount(which, weights=hit - confidence, minlength=bins)).sum() / len(labels))


def confusion(labels: NDArray[np.integer], predicted: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """Count true and predicted classes.

    Args:
        labels: int (N,), true classes, 0 to ``classes`` - 1.
        predicted: int (N,), predicted classes, in the same range.
        classes: the number of classes C.

    Returns:
        int64 (C, C): row true, column predicted.
    """
    _check_labels(labels, classes, "labels")
    _check_labels(predicted, classes, "predicted")
    if len(labels) != len(predicted):
        raise ValueError(f"there are {len(labels)} labels for {len(predicted)} predictions")
    counts: NDArray[np.int64] = confusion_matrix(labels, predicted, labels=np.arange(classes)).astype(np.int64)
    return counts


def per_class(
    labels: NDArray[np.integer], predicted: NDArray[np.integer], names: Sequence[str]
) -> dict[str, ClassFigures]:
    """Precision, recall, F1 and support of every class, in the order of ``names`` (one for each class)."""
    _check_labels(labels, len(names), "labels")
    _check_labels(predicted, len(names), "predicted")
    columns = precision_recall_fscore_support(labels, predicted, labels=np.arange(len(names)), zero_division=0)
    return {
        name: ClassFigures(precision=float(p), recall=float(r), f1=float(f), support=int(s))
        for name, p, r, f, s in zip(names, *columns, strict=True)
    }


def summarize(
    probabilities: NDArray[np.floating],
    labels: NDArray[np.integer],
    names: Sequence[str],
    clean: NDArray[np.bool_] | None = None,
) -> dict[str, Any]:
    """All figures as plain Python values, ready for JSON.

    Args:
        probabilities: float (N, C).
        labels: int (N,).
        names: the C classes' names.
        clean: bool (N,), True where the face does not also occur in the training split; None where that is unknown.

    Returns:
        ``n``, ``accuracy``, ``macro_f1``, ``nll``, ``ece``, ``clean`` (``n`` and ``accuracy`` of the clean faces; None
        without a mask, and its accuracy None without clean faces), ``per_class`` and ``confusion``.
    """
    _check(probabilities, labels)
    if len(names) != probabilities.shape[1]:
        raise ValueError(f"there are {len(names)} names for {probabilities.shape[1]} classes")
    predicted = probabilities.argmax(axis=1)
    return {
        "n": len(labels),
        "accuracy": accuracy(probabilities, labels),
        "macro_f1": macro_f1(probabilities, labels),
        "nll": nll(probabilities, labels),
        "ece": ece(probabilities, labels),
        "clean": None if clean is None else _clean(probabilities, labels, clean),
        "per_class": per_class(labels, predicted, names),
        "confusion": confusion(labels, predicted, len(names)).tolist(),
    }


def _clean(
    probabilities: NDArray[np.floating], labels: NDArray[np.integer], clean: NDArray[np.bool_]
) -> dict[str, int | float | None]:
    if clean.dtype != np.bool_ or clean.shape != labels.shape:
        raise ValueError(f"clean must be bool {labels.shape}, not {clean.dtype} {clean.shape}")
    n = int(clean.sum())
    return {"n": n, "accuracy": accuracy(probabilities[clean], labels[clean]) if n else None}


def _check(probabilities: NDArray[np.floating], labels: NDArray[np.integer]) -> None:
    if probabilities.ndim != 2 or not np.issubdtype(probabilities.dtype, np.floating):
        raise ValueError(f"probabilities must be float (N, C), not {probabilities.dtype} {probabilities.shape}")
    if len(probabilities) != len(labels):
        raise ValueError(f"there are {len(labels)} labels for {len(probabilities)} rows of probabilities")
    _check_labels(labels, probabilities.shape[1], "labels")
    if not np.isfinite(probabilities).all():
        raise ValueError("probabilities hold NaN or infinity")
    if probabilities.min() < -TINY or probabilities.max() > 1.0 + _SUM_TOLERANCE:
        raise ValueError(f"probabilities must be in [0, 1], not {probabilities.min()} to {probabilities.max()}")
    off = np.abs(probabilities.sum(axis=1, dtype=np.float64) - 1.0)
    if off.max() > _SUM_TOLERANCE:
        raise ValueError(f"row {off.argmax()} of the probabilities does not sum to 1 (it is off by {off.max():.3g})")


def _check_labels(labels: NDArray[np.integer], classes: int, what: str) -> None:
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"{what} must be int (N,), not {labels.dtype} {labels.shape}")
    if len(labels) == 0:
        raise ValueError(f"{what} are empty: there is no face to evaluate")
    if labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"{what} must be 0 to {classes - 1}, not {labels.min()} to {labels.max()}")
