"""Metrics against naive references, for hand-made and for random probabilities."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from mien.evaluation import metrics

P = NDArray[np.float64]
Y = NDArray[np.int64]
NAMES = ("a", "b", "c", "d")


@st.composite
def predictions(draw: st.DrawFn) -> tuple[P, Y]:
    """Probabilities (N, 4), some of them exactly 0 or 1 or tied, and labels."""
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sharpness = draw(st.sampled_from([0.02, 0.3, 5.0]))
    probabilities = rng.dirichlet(np.full(4, sharpness), n)
    if draw(st.booleans()):
        probabilities[: n // 2] = np.round(probabilities[: n // 2] * 4) / 4
        probabilities /= probabilities.sum(axis=1, keepdims=True)
    return np.nan_to_num(probabilities, nan=0.25), rng.integers(0, 4, n)


def naive_argmax(row: P) -> int:
    return max(range(len(row)), key=lambda k: (row[k], -k))


def naive_ece(probabilities: P, labels: Y, bins: int) -> float:
    total = 0.0
    edges = np.linspace(0.0, 1.0, bins + 1)
    for low, high in pairwise(edges):
        inside = [
            i for i, row in enumerate(probabilities) if low < max(row) <= high or (high == 1.0 and max(row) > 1.0)
        ]
        if inside:
            hits = sum(naive_argmax(probabilities[i]) == labels[i] for i in inside) / len(inside)
            confidence = sum(max(probabilities[i]) for i in inside) / len(inside)
            total += len(inside) / len(labels) * abs(hits - confidence)
    return total


def naive_class(labels: Y, predicted: Y, k: int) -> tuple[float, float, float, int]:
    both = sum(1 for y, p in zip(labels, predicted, strict=True) if y == k and p == k)
    said, is_so = int((predicted == k).sum()), int((labels == k).sum())
    precision, recall = both / said if said else 0.0, both / is_so if is_so else 0.0
    f1 = 2 * precision * recall / (precision + recall) if both else 0.0
    return precision, recall, f1, is_so


@settings(max_examples=60)
@given(predictions())
def test_figures_equal_naive_references(case: tuple[P, Y]) -> None:
    probabilities, labels = case
    predicted = np.array([naive_argmax(row) for row in probabilities])
    occurring = sorted(set(labels) | set(predicted))
    f1 = [naive_class(labels, predicted, k)[2] for k in occurring]
    lost = [-math.log(max(row[y], 1e-7)) for row, y in zip(probabilities, labels, strict=True)]
    assert metrics.accuracy(probabilities, labels) == pytest.approx(np.mean(predicted == labels))
    assert metrics.macro_f1(probabilities, labels) == pytest.approx(sum(f1) / len(f1))
    assert metrics.nll(probabilities, labels) == pytest.approx(sum(lost) / len(lost))
    for bins in (1, 10, 15):
        assert metrics.ece(probabilities, labels, bins) == pytest.approx(naive_ece(probabilities, labels, bins))


@settings(max_examples=60)
@given(predictions())
def test_confusion_and_classes_equal_naive_references(case: tuple[P, Y]) -> None:
    probabilities, labels = case
    predicted = probabilities.argmax(axis=1)
    counts = np.zeros((4, 4), dtype=int)
    for true, guess in zip(labels, predicted, strict=True):
        counts[true, guess] += 1
    assert metrics.confusion(labels, predicted, 4).tolist() == counts.tolist()
    figures = metrics.per_class(labels, predicted, NAMES)
    assert list(figures) == list(NAMES)
    for k, name in enumerate(NAMES):
        assert tuple(figures[name].values()) == pytest.approx(naive_class(labels, predicted, k))


def test_calibration_by_hand() -> None:
    """Two faces at 0.8, one right (gap 0.3), and two at 0.6, both right (gap 0.4)."""
    probabilities = np.array([[0.8, 0.2], [0.8, 0.2], [0.6, 0.4], [0.4, 0.6]])
    assert metrics.ece(probabilities, np.array([0, 1, 0, 1])) == pytest.approx(0.5 * 0.3 + 0.5 * 0.4)


def test_one_confident_mistake_costs_a_bounded_amount() -> None:
    assert metrics.nll(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-math.log(1e-7))


def test_summary_is_ready_for_json() -> None:
    probabilities = np.array([[0.7, 0.3], [0.2, 0.8], [0.9, 0.1]])
    labels, clean = np.array([0, 1, 1]), np.array([True, False, True])
    summary = json.loads(json.dumps(metrics.summarize(probabilities, labels, ("a", "b"), clean)))
    keys = {"n", "accuracy", "macro_f1", "nll", "ece", "clean", "per_class", "confusion"}
    assert set(summary) == keys
    assert summary["n"] == 3
    assert summary["accuracy"] == pytest.approx(2 / 3)
    assert summary["clean"] == {"n": 2, "accuracy": 0.5}
    assert summary["confusion"] == [[1, 0], [1, 1]]
    assert summary["per_class"]["b"] == {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2}


def test_summary_without_clean_faces() -> None:
    probabilities, labels = np.array([[0.7, 0.3]]), np.array([0])
    assert metrics.summarize(probabilities, labels, ("a", "b"))["clean"] is None
    none = metrics.summarize(probabilities, labels, ("a", "b"), np.array([False]))["clean"]
    assert none == {"n": 0, "accuracy": None}


def test_half_precision_probabilities_are_taken() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(7), 50).astype(np.float16)
    labels = probabilities.argmax(axis=1)
    assert metrics.accuracy(probabilities, labels) == 1.0
    assert math.isfinite(metrics.nll(probabilities, labels))


BAD: list[tuple[P, Y, str]] = [
    (np.array([[np.nan, 1.0]]), np.array([0]), "NaN or infinity"),
    (np.array([[np.inf, 0.0]]), np.array([0]), "NaN or infinity"),
    (np.array([[0.5, 0.6]]), np.array([0]), "row 0 .* does not sum to 1"),
    (np.array([[-0.5, 1.5]]), np.array([0]), r"in \[0, 1\]"),
    (np.zeros((0, 2)), np.zeros(0, dtype=np.int64), "empty"),
    (np.array([[0.5, 0.5]]), np.array([2]), "0 to 1"),
    (np.array([[0.5, 0.5]]), np.array([-1]), "0 to 1"),
    (np.array([[0.5, 0.5]]), np.array([0, 1]), "2 labels for 1 rows"),
    (np.array([0.5, 0.5]), np.array([0, 1]), r"float \(N, C\)"),
    (np.array([[0.5, 0.5]]), np.array([0.0]), "int"),
]


@pytest.mark.parametrize("figure", [metrics.accuracy, metrics.macro_f1, metrics.nll, metrics.ece])
@pytest.mark.parametrize(("probabilities", "labels", "complaint"), BAD)
def test_bad_input_is_refused(figure: Callable[[P, Y], float], probabilities: P, labels: Y, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        figure(probabilities, labels)


def test_arguments_that_do_not_fit_are_refused() -> None:
    probabilities, labels = np.array([[0.7, 0.3]]), np.array([0])
    with pytest.raises(ValueError, match="bins"):
        metrics.ece(probabilities, labels, bins=0)
    with pytest.raises(ValueError, match="3 names for 2 classes"):
        metrics.summarize(probabilities, labels, ("a", "b", "c"))
    with pytest.raises(ValueError, match="clean must be bool"):
        metrics.summarize(probabilities, labels, ("a", "b"), np.array([1]))
    with pytest.raises(ValueError, match="1 labels for 2 predictions"):
        metrics.confusion(labels, np.array([0, 1]), 2)
    with pytest.raises(ValueError, match="predicted must be 0 to 1"):
        metrics.per_class(labels, np.array([2]), ("a", "b"))
