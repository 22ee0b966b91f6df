"""What the crowd saw in a face."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mien.data import Faces
from mien.emotions import FERPLUS, FERPLUS_OF_EMOTION, Emotion
from mien.errors import DataError


def voted(some_faces: Faces, *rows: dict[str, int]) -> Faces:
    """A face a row, with these votes."""
    votes = np.array([[row.get(name, 0) for name in FERPLUS] for row in rows], np.uint8)
    return replace(some_faces.take(np.arange(len(rows))), votes=votes)


def test_every_emotion_has_its_column() -> None:
    names = [FERPLUS[place] for place in FERPLUS_OF_EMOTION]
    assert names == ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]


def test_shares_are_parts_of_all_votes(some_faces: Faces) -> None:
    faces = voted(some_faces, {"anger": 6, "contempt": 4}, {"neutral": 5, "fear": 5}, {"nf": 10}, {}, {"happiness": 3})
    expected = np.zeros((5, 7))
    expected[0, Emotion.ANGRY] = 0.6
    expected[1, [Emotion.NEUTRAL, Emotion.FEAR]] = 0.5
    expected[4, Emotion.HAPPY] = 1.0
    assert faces.vote_shares().dtype == np.float32
    assert faces.vote_shares() == pytest.approx(expected)


def test_a_majority_is_more_than_half_of_all_votes(some_faces: Faces) -> None:
    rows = [
        {"sadness": 6, "unknown": 4},
        {"sadness": 5, "unknown": 5},
        {"contempt": 9, "anger": 1},
        {"surprise": 10},
        {},
    ]
    seen, clear = voted(some_faces, *rows).majority()
    assert clear.tolist() == [True, False, False, True, False]
    assert seen[clear].tolist() == [Emotion.SAD, Emotion.SURPRISE]


def test_fer2013_has_2720_clear_faces_in_private_test(fer2013: Faces) -> None:
    _, clear = fer2013.select("PrivateTest").majority()
    assert int(clear.sum()) == 2_720


def test_without_votes_it_says_so(some_faces: Faces) -> None:
    with pytest.raises(DataError, match="no FER"):
        replace(some_faces, votes=None).majority()
