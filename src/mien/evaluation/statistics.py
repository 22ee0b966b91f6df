"""Intervals, paired tests, calibration and abstention.

``hits`` is bool (N,): whether each face was classified correctly. ``probabilities`` is float (N, C) as in
:mod:`mien.evaluation.metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from sklearn.calibration import calibration_curve

from mien.models.onnx.session import softmax

RESAMPLES = 2000
BINS = 15
"""Bins of equal width, as in :func:`mien.evaluation.metrics.ece`."""


def interval(values: NDArray[np.generic], level: float = 0.95, seed: int = 0) -> tuple[float, float] | None:
    """A percentile bootstrap interval of a mean over faces.

    Args:
        values: (N,), one a face: hits, losses, or differences of two models' hits.
        level: how often such an interval holds the true mean.
        seed: of the 2,000 resamples, so that the same values give the same interval.

    Returns:
        Its ends, or None for fewer than two faces.
    """
    if len(values) < 2:
        return None
    found = stats.bootstrap(
        (np.asarray(values, np.float64),),
        np.mean,
        vectorized=True,
        n_resamples=RESAMPLES,
        batch=100,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


@dataclass(frozen=True)
class Paired:
    """Two models on the same faces.

    Attributes:
        both: faces that both classify correctly.
        first: faces that only the first classifies correctly.
        second: faces that only the second classifies correctly.
        neither: faces that both classify wrongly.
        p: the exact two-sided McNemar test's p-value: how likely the two counts differ this much by chance.
    """

    both: int
    first: int
    second: int
    neither: int
    p: float


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Paired:
    """Compare two models' hits on the same faces by the exact test: McNemar 1947, with binomial tails.

    Raises:
        ValueError: where the lengths differ.
    """
    if first.shape != second.shape:
        raise ValueError(f"the models predicted {len(first)} and {len(second)} faces")
    one, other = int((first & ~second).sum()), int((second & ~first).sum())
    p = float(stats.binomtest(one, one + other).pvalue) if one + other else 1.0
    return Paired(int((first & second).sum()), one, other, int((~first & ~second).sum()), p)


@dataclass(frozen=True)
class Difference:
    """A second model's accuracy less the first's, on the same faces.

    Attributes:
        difference: -1 to 1.
        interval: its 95 % bootstrap interval; None for fewer than two faces.
        mcnemar: the paired test.
    """

    difference: float
    interval: tuple[float, float] | None
    mcnemar: Paired


def paired_difference(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> Difference:
    """Compare two models' hits, bool (N,) each.

    Raises:
        ValueError: where the lengths differ.
    """
    paired, gain = mcnemar(first, second), second.astype(np.int64) - first
    return Difference(float(gain.mean()), interval(gain), paired)


def mean(values: NDArray[Any]) -> float | None:
    """The mean, or None of nothing."""
    return float(values.mean()) if len(values) else None


def reliability(
    hits: NDArray[np.bool_], confidence: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The calibration curve: mean confidence and accuracy of every bin that holds faces, float64 (bins,) each.

    Args:
        hits: bool (N,).
        confidence: float (N,), the most probable class's probability, 0 to 1.
    """
    accuracy, means = calibration_curve(
        hits, np.clip(confidence, 0, 1), n_bins=BINS, strategy="uniform", pos_label=True
    )
    return means, accuracy


def coverage(
    hits: NDArray[np.bool_], confidence: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Abstention: coverage (the share of faces above a threshold of confidence) and the accuracy on these.

    Faces of equal confidence are kept or rejected together.

    Returns:
        float64 (M,) each, by rising share, for each of the M different confidences.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    kept = ends + 1
    return kept / len(hits), np.cumsum(hits[order])[ends] / kept


def with_temperature(probabilities: NDArray[np.floating], factor: float) -> NDArray[np.float64]:
    """softmax(log(p) / factor), float64 (N, C): the probabilities at ``factor`` times the model's temperature.

    With 1 / temperature as the factor this undoes a bundle's temperature scaling, softmax(logits / T).
    """
    with np.errstate(divide="ignore"):
        return softmax(np.log(np.asarray(probabilities, np.float64)) / factor)
