"""Seven-class models on FER+'s eight classes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mien.data import Faces
from mien.data.ferplus import SEEN
from mien.emotions import FERPLUS_OF_EMOTION
from mien.errors import DataError
from mien.evaluation.ferplus import CONTEMPT, eight_classes, ferplus_figures


@pytest.fixture(scope="module")
def evaluated() -> tuple[Faces, np.ndarray]:
    """400 faces with votes of ten people who lean to some emotion, and a model's probabilities."""
    rng = np.random.default_rng(0)
    lean = rng.dirichlet(np.full(10, 0.15), 400)
    votes = np.stack([rng.multinomial(10, one) for one in lean]).astype(np.uint8)
    probabilities = rng.dirichlet(np.full(7, 0.3), 400)
    faces = Faces(np.zeros((400, 48, 48), np.uint8), np.arange(400) % 7, np.ones(400, np.uint8), np.arange(400), votes)
    return faces, probabilities


def test_the_figures_are_those_of_a_plain_loop(evaluated: tuple[Faces, np.ndarray]) -> None:
    faces, probabilities = evaluated
    assert faces.votes is not None
    right = wrong = contempt = 0
    nats = []
    for row, seven in zip(faces.votes.astype(int).tolist(), probabilities, strict=True):
        kept = [vote if vote > 1 else 0 for vote in row]
        best = kept.index(max(kept))
        eight = [0.0] * 8
        for label, place in enumerate(FERPLUS_OF_EMOTION):
            eight[place] = float(seven[label])
        if kept[best] > sum(kept) / 2 and best < 8:
            contempt += best == CONTEMPT
            hit = eight.index(max(eight)) == best
            right, wrong = right + hit, wrong + (not hit)
        if kept[best] >= 0.75 * sum(kept) and sum(kept) and best < 8:  # one option alone is the whole distribution
            nats.append(-np.log(max(eight[best], 1e-7)))
    figures = ferplus_figures(probabilities, faces)
    assert (figures["n"], figures["left_out"]) == (right + wrong, 400 - right - wrong)
    assert figures["accuracy"] == pytest.approx(right / (right + wrong))
    assert figures["contempt"] == contempt > 0
    assert figures["accuracy_without_contempt"] == pytest.approx(right / (right + wrong - contempt))
    assert figures["distributions"] >= len(nats) > 100
    assert np.array(figures["confusion"]).trace() == right
    assert figures["per_class"]["contempt"]["recall"] == 0


def test_the_cross_entropy_of_sure_faces() -> None:
    votes = np.zeros((2, 10), np.uint8)
    votes[0, 1], votes[1, [0, 3]] = 10, [6, 4]
    faces = Faces(np.zeros((2, 48, 48), np.uint8), np.array([3, 6]), np.ones(2, np.uint8), np.arange(2), votes)
    probabilities = np.full((2, 7), 0.05)
    probabilities[0, 3] = 0.7
    probabilities[1, [6, 4]] = [0.5, 0.25]
    figures = ferplus_figures(probabilities, faces)
    assert figures["cross_entropy"] == pytest.approx(-(np.log(0.7) + 0.6 * np.log(0.5) + 0.4 * np.log(0.25)) / 2)
    assert figures["accuracy"] == 1.0


def test_contempt_is_never_said() -> None:
    eight = eight_classes(np.eye(7))
    assert eight[:, CONTEMPT].tolist() == [0] * 7
    assert [SEEN[place] for place in eight.argmax(1)] == [
        "anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral",
    ]  # fmt: skip


def test_no_clear_face_has_no_figures(evaluated: tuple[Faces, np.ndarray]) -> None:
    faces, probabilities = evaluated
    unclear = replace(faces, votes=np.ones((400, 10), np.uint8))
    figures = ferplus_figures(probabilities, unclear)
    assert figures["n"] == 0
    assert figures["accuracy"] is None
    assert figures["cross_entropy"] is None


def test_what_does_not_fit_is_refused(evaluated: tuple[Faces, np.ndarray]) -> None:
    faces, probabilities = evaluated
    with pytest.raises(DataError, match="no FER"):
        ferplus_figures(probabilities, replace(faces, votes=None))
    with pytest.raises(DataError, match="seven emotions"):
        ferplus_figures(probabilities, replace(faces, labels=tuple("abcdefg")))
    with pytest.raises(ValueError, match="shape"):
        ferplus_figures(probabilities[:5], faces)
