"""Temperatures: found where they are known, and the same that a plain search finds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from mien.data import Faces
from mien.emotions import FERPLUS_OF_EMOTION, Output
from mien.evaluation.metrics import nll
from mien.models.bundle import Calibration
from mien.models.calibration import EXPONENTS, WEIGHTS, Photos, calibrated, fit_answer, fit_temperature, with_shares
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


def voted(drawn: Faces, labels: NDArray[np.int64]) -> Faces:
    """The faces with ten votes for these emotions."""
    return replace(drawn, votes=10 * np.eye(10, dtype=np.uint8)[np.array(FERPLUS_OF_EMOTION)[labels]])


def test_the_answer_is_the_best_that_keeps_the_agreement(drawn: Faces) -> None:
    """The FER+ head calls half of all anger Neutral, by a little; the other head knows it: some of it is asked."""
    rng = np.random.default_rng(5)
    faces = voted(drawn, drawn.emotion)
    right = np.eye(7)[faces.emotion]
    votes = 4 * right + rng.normal(size=right.shape) * 0.1
    angry = np.flatnonzero(faces.emotion == 0)[::2]
    votes[angry] = votes[angry] * 0.5 + 2.5 * np.eye(7)[6]
    logits = {Head.LABELS: 4 * right, Head.VOTES: votes}
    shares = {one: tuple(np.full(7, 1 / 7)) for one in Output}
    found, rows = fit_answer(Calibration(shares=shares), logits, faces)
    assert len(rows) == len(WEIGHTS) * len(EXPONENTS)
    assert rows[0]["agreement"] == pytest.approx(1 - len(angry) / len(faces))
    assert found.answer.weight > 0
    assert (found.combine(logits).argmax(1) == faces.emotion).all()
    assert found.answer.temperature >= 1
    none = replace(faces, votes=np.ones_like(faces.votes))
    assert fit_answer(Calibration(shares=shares), logits, none) == (Calibration(shares=shares), [])


def test_photos_count_where_they_are_given(drawn: Faces) -> None:
    """On the split both heads are right; on photos only the first is, so the answer leans on it."""
    faces, right = voted(drawn, drawn.emotion), 4 * np.eye(7)[drawn.emotion]
    logits, shares = {Head.LABELS: right, Head.VOTES: right}, {one: tuple(np.full(7, 1 / 7)) for one in Output}
    others = {Head.LABELS: right, Head.VOTES: right * 0 + 2.5 * np.eye(7)[6]}
    alone = fit_answer(Calibration(shares=shares), logits, faces)[0]
    both, rows = fit_answer(Calibration(shares=shares), logits, faces, Photos(others, drawn.emotion))
    assert alone.answer.weight == 0 < both.answer.weight
    assert max(row["mean5"] for row in rows) == 1 > rows[0]["mean5"]


def test_the_shares_of_the_training_data_by_hand(tiny_run: Run, drawn: Faces) -> None:
    assert tiny_run.bundle is not None
    parts = [drawn.select("Training"), drawn.select("PublicTest")]
    found = with_shares(tiny_run.bundle, parts).card.calibration.shares
    counts = sum(np.bincount(part.emotion, minlength=7) for part in parts) + 1
    assert list(found) == [Output.FER2013, Output.DEFAULT]
    assert found[Output.FER2013] == pytest.approx(tuple(counts / (135 + 7)))
