"""Intervals, paired tests, calibration and abstention against slow, plain computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.evaluation.metrics import ece
from mien.evaluation.statistics import BINS, coverage, interval, mcnemar, reliability, with_temperature
from mien.models.onnx.session import softmax


def test_the_interval_is_that_of_a_loop() -> None:
    rng = np.random.default_rng(5)
    hits = rng.random(800) < 0.64
    means = sorted(float(np.mean(rng.choice(hits, len(hits)))) for _ in range(4000))
    low, high = interval(hits) or (0, 0)
    assert low == pytest.approx(means[100], abs=0.004)
    assert high == pytest.approx(means[3900], abs=0.004)
    assert interval(hits) == (low, high)
    narrow = interval(hits, level=0.5) or (0, 1)
    assert low < narrow[0] < narrow[1] < high


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    held = sum(low <= 0.7 <= high for low, high in (interval(rng.random(300) < 0.7) or (0, 0) for _ in range(60)))
    assert 51 <= held <= 60


def test_an_interval_of_too_few_or_of_equal_values() -> None:
    assert interval(np.array([True])) is None
    assert interval(np.ones(9, bool)) == (1.0, 1.0)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=40))
def test_mcnemar_is_the_sum_of_binomial_tails(pairs: list[tuple[bool, bool]]) -> None:
    first, second = (np.array([pair[k] for pair in pairs], bool) for k in (0, 1))
    found = mcnemar(first, second)
    n, least = found.first + found.second, min(found.first, found.second)
    tail = sum(math.comb(n, k) for k in range(least + 1)) / 2**n
    assert found.p == pytest.approx(min(1.0, 2 * tail))
    assert found.both + found.first + found.second + found.neither == len(pairs)
    assert mcnemar(second, first).p == pytest.approx(found.p)


def test_mcnemar_needs_the_same_faces() -> None:
    with pytest.raises(ValueError, match="2 and 3 faces"):
        mcnemar(np.ones(2, bool), np.ones(3, bool))


def test_the_calibration_curve_by_hand() -> None:
    confidence = np.array([0.31, 0.32, 0.95, 0.97, 0.99, 1.0])
    hits = np.array([True, False, True, True, True, False])
    said, right = reliability(hits, confidence)
    assert said == pytest.approx([0.315, 0.9775])
    assert right == pytest.approx([0.5, 0.75])


def test_the_curve_and_the_calibration_error_use_the_same_bins() -> None:
    rng = np.random.default_rng(2)
    probabilities = rng.dirichlet(np.full(7, 0.3), 500)
    labels = rng.integers(0, 7, 500)
    confidence, hits = probabilities.max(1), probabilities.argmax(1) == labels
    said, right = reliability(hits, confidence)
    counts = np.bincount(np.digitize(confidence, np.linspace(0, 1, BINS + 1)[1:-1], right=True))
    weights = counts[counts > 0] / 500
    assert (weights * np.abs(said - right)).sum() == pytest.approx(ece(probabilities, labels))


def test_coverage_is_that_of_every_threshold() -> None:
    rng = np.random.default_rng(3)
    confidence, hits = rng.integers(1, 30, 200) / 30, rng.random(200) < 0.6
    share, accuracy = coverage(hits, confidence)
    thresholds = sorted(set(confidence.tolist()), reverse=True)
    assert len(share) == len(thresholds)
    for threshold, part, right in zip(thresholds, share, accuracy, strict=True):
        answered = [bool(hit) for hit, sure in zip(hits, confidence, strict=True) if sure >= threshold]
        assert part == pytest.approx(len(answered) / 200)
        assert right == pytest.approx(sum(answered) / len(answered))
    assert (share[-1], accuracy[-1]) == (1.0, hits.mean())


def test_a_temperature_comes_off_and_goes_on() -> None:
    logits = np.random.default_rng(4).normal(0, 6, (50, 7))
    logits[0] = [2000, 0, 0, 0, 0, 0, 0]
    warm = softmax(logits / 1.7)
    assert np.allclose(with_temperature(warm, 1 / 1.7)[1:], softmax(logits)[1:])
    assert np.allclose(with_temperature(softmax(logits), 1.7)[1:], warm[1:])
    assert with_temperature(warm, 1 / 1.7)[0].tolist() == [1, 0, 0, 0, 0, 0, 0]
