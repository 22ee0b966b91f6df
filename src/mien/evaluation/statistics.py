"""How sure a figure is, and how sure a model is: intervals, paired tests, calibration, abstention.

``hits`` is bool (N,): whether each face was named rightly. ``probabilities`` is float (N, C) as in
:mod:`mien.evaluation.metrics`.
"""

from __future__ import annotations

from dataclasses import dataclass

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
        both: faces that both name rightly.
        first: faces that only the first names rightly.
        second: faces that only the second names rightly.
        neither: faces that both name wrongly.
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
        raise ValueError(f"the models answered {len(first)} and {len(second)} faces")
    one, other = int((first & ~second).sum()), int((second & ~first).sum())
    p = float(stats.binomtest(one, one + other).pvalue) if one + other else 1.0
    return Paired(int((first & second).sum()), one, other, int((~first & ~second).sum()), p)


def reliability(
    hits: NDArray[np.bool_], confidence: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The calibration curve: mean confidence and accuracy of every bin that holds faces, float64 (bins,) each.

    Args:
        hits: bool (N,).
        confidence: float (N,), the most probable class's probability, 0 to 1.
    """
    right, said = calibration_curve(hits, np.clip(confidence, 0, 1), n_bins=BINS, strategy="uniform", pos_label=True)
    return said, right


def coverage(
    hits: NDArray[np.bool_], confidence: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Abstention: the share of faces that are answered, and the accuracy on these, most confident first.

    Faces of equal confidence come in together, as a threshold on confidence cannot part them.

    Returns:
        float64 (M,) each, by rising share, for each of the M different confidences.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    ends = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    answered = ends + 1
    return answered / len(hits), np.cumsum(hits[order])[ends] / answered


def with_temperature(probabilities: NDArray[np.floating], factor: float) -> NDArray[np.float64]:
    """softmax(log(p) / factor), float64 (N, C): what the model would say at ``factor`` times its temperature.

    With 1 / temperature as the factor this takes a bundle's temperature away, as softmax(logits / T) is all that it
    did to them.
    """
    with np.errstate(divide="ignore"):
        return softmax(np.log(np.asarray(probabilities, np.float64)) / factor)
