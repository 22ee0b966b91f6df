"""Temperatures: found where they are known, and the same that a plain search finds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from mien.data import Faces
from mien.evaluation.metrics import nll
from mien.models.calibration import calibrated, fit_temperature
from mien.models.onnx.session import Session
from mien.models.spec import Head

if TYPE_CHECKING:
    from mien.training import Run


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_temperature_that_made_the_labels_is_found(temperature: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(40_000, 5)) * 2
    chances = softmax(logits / temperature, axis=1)
    labels = (chances.cumsum(1) > rng.random((len(logits), 1))).argmax(1)
    found = fit_temperature(logits.astype(np.float32), np.eye(5, dtype=np.float32)[labels])
    assert found == pytest.approx(temperature, rel=0.03)
    assert fit_temperature(logits.astype(np.float32), chances.astype(np.float32)) == pytest.approx(
        temperature, rel=1e-3
    )


def test_it_is_the_best_of_a_plain_search() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(size=(200, 7)).astype(np.float32) * 3
    targets = softmax(logits / 2 + rng.normal(size=(200, 7)), axis=1).astype(np.float32)
    targets[:50] *= 0.3  # faces with votes elsewhere count for less
    grid = np.linspace(0.1, 12, 4000)
    losses = [-(targets * log_softmax(logits / t, axis=1)).sum() for t in grid]
    assert fit_temperature(logits, targets) == pytest.approx(grid[int(np.argmin(losses))], abs=0.01)


def test_a_calibrated_bundle_has_a_lower_loss_and_the_same_answers(tiny_run: Run, drawn: Faces) -> None:
    assert tiny_run.bundle is not None
    faces = drawn.select("Training")
    found = calibrated(tiny_run.bundle, faces)
    assert found.card.calibration.temperature != 1
    assert found.card.calibration.votes_temperature == 1
    before, after = (Session(b).probabilities(faces.images)[Head.LABELS] for b in (tiny_run.bundle, found))
    assert (before.argmax(1) == after.argmax(1)).all()
    assert nll(after, faces.emotion) < nll(before, faces.emotion)
    assert replace(found, card=tiny_run.bundle.card).weights is tiny_run.bundle.weights
