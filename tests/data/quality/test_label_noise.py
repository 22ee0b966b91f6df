"""Suspect labels: planted flips, by votes and by a model's probabilities."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mien.data import Faces
from mien.data.quality.label_noise import by_model, by_votes, not_faces
from mien.emotions import FERPLUS, FERPLUS_OF_EMOTION
from mien.errors import DataError


def voted(label: int, **votes: int) -> Faces:
    """One face with a label and the votes named."""
    row = np.array([[votes.get(name, 0) for name in FERPLUS]], np.uint8)
    image = np.zeros((1, 48, 48), np.uint8)
    return Faces(image, np.array([label]), np.zeros(1, np.uint8), np.arange(1), row)


@pytest.mark.parametrize(
    ("label", "votes", "better"),
    [
        (4, {"happiness": 10}, "Happy"),
        (4, {"happiness": 6, "sadness": 1, "neutral": 3}, "Happy"),
        (4, {"contempt": 9, "sadness": 1}, "contempt"),
        (4, {"happiness": 6, "sadness": 2, "neutral": 2}, None),
        (4, {"happiness": 5, "neutral": 5}, None),
        (3, {"happiness": 6, "sadness": 4}, None),
        (4, {"nf": 10}, None),
        (4, {"unknown": 6, "happiness": 4}, None),
        (-1, {"happiness": 10}, None),
        (4, {}, None),
    ],
)
def test_votes_doubt_a_label_that_next_to_none_gave(label: int, votes: dict[str, int], better: str | None) -> None:
    found = by_votes(voted(label, **votes))
    assert [one.better for one in found] == ([] if better is None else [better])


def test_the_score_is_the_shares_difference() -> None:
    assert by_votes(voted(4, happiness=7, sadness=1, neutral=2))[0].score == pytest.approx(0.6)


def test_not_a_face_needs_more_than_half() -> None:
    assert not_faces(voted(0, nf=6, anger=4)).tolist() == [True]
    assert not_faces(voted(0, nf=5, anger=5)).tolist() == [False]


def test_without_votes_it_is_refused(some_faces: Faces) -> None:
    with pytest.raises(DataError, match="no FER\\+ votes"):
        by_votes(replace(some_faces, votes=None))


def flipped(n: int, seed: int) -> tuple[Faces, np.ndarray, np.ndarray]:
    """n faces with 2 % of the labels flipped, the true labels' noisy probabilities, and which were flipped."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 7, n)
    logits = rng.normal(0, 1, (n, 7))
    logits[np.arange(n), true] += 4
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    wrong = np.zeros(n, bool)
    wrong[rng.choice(n, n // 50, replace=False)] = True
    given = np.where(wrong, (true + rng.integers(1, 7, n)) % 7, true)
    faces = Faces(np.zeros((n, 48, 48), np.uint8), given, np.zeros(n, np.uint8), np.arange(n))
    return faces, probabilities, wrong


def test_a_good_model_finds_planted_flips() -> None:
    """Confident learning errs on the side of too few: recall over 60 %, precision over 95 %."""
    faces, probabilities, wrong = flipped(3000, seed=0)
    found = [one.face for one in by_model(faces, probabilities, np.ones(3000, bool))]
    hits = wrong[found].sum()
    assert hits / wrong.sum() > 0.6
    assert hits / len(found) > 0.95


def test_only_selected_faces_with_a_label_are_suspected() -> None:
    faces, probabilities, _ = flipped(600, seed=1)
    faces.emotion[::3] = -1
    selected = np.arange(600) >= 300
    found = by_model(faces, probabilities[selected], selected)
    assert found
    assert all(one.face >= 300 and one.face % 3 for one in found)


def test_a_class_that_no_face_has_is_no_obstacle() -> None:
    faces, probabilities, wrong = flipped(2000, seed=2)
    keep = faces.emotion != 1
    found = by_model(faces.take(keep), probabilities[keep], np.ones(int(keep.sum()), bool))
    hits = wrong[keep][[one.face for one in found]]
    assert hits.sum() > 0.5 * wrong[keep].sum()
    assert hits.mean() > 0.9


def test_one_class_or_no_face_gives_no_suspects() -> None:
    faces, probabilities, _ = flipped(50, seed=3)
    assert by_model(faces, probabilities[:0], np.zeros(50, bool)) == []
    same = replace(faces, emotion=np.zeros(50, np.int64))
    assert by_model(same, probabilities, np.ones(50, bool)) == []


def test_votes_find_flips_of_fer2013(fer2013: Faces) -> None:
    """2 % of the labels that the votes' majority confirms, flipped: recall over 90 %, precision over 95 %."""
    rng = np.random.default_rng(4)
    seen, clear = fer2013.majority()
    faces = fer2013.take(clear & (seen == fer2013.emotion))
    wrong = rng.random(len(faces)) < 0.02
    given = np.where(wrong, (faces.emotion + rng.integers(1, 7, len(faces))) % 7, faces.emotion)
    found = [one.face for one in by_votes(replace(faces, emotion=given))]
    hits = wrong[found].sum()
    assert hits / wrong.sum() > 0.9
    assert hits / len(found) > 0.95


def test_the_vote_columns_are_those_of_the_labels() -> None:
    assert [FERPLUS[i] for i in FERPLUS_OF_EMOTION] == [
        "anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral",
    ]  # fmt: skip
