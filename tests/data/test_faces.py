"""A set of faces: its splits, its keys, and what the crowd saw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.data import Faces
from mien.data.faces import pixel_keys
from mien.emotions import FERPLUS, FERPLUS_OF_EMOTION, Emotion
from mien.errors import DataError


def voted(some_faces: Faces, *rows: dict[str, int]) -> Faces:
    """A face a row, with these votes."""
    votes = np.array([[row.get(name, 0) for name in FERPLUS] for row in rows], np.uint8)
    return replace(some_faces.take(np.arange(len(rows))), votes=votes)


def test_every_emotion_has_its_column() -> None:
    names = [FERPLUS[i] for i in FERPLUS_OF_EMOTION]
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


def test_without_votes_it_is_an_error(some_faces: Faces) -> None:
    with pytest.raises(DataError, match="no FER"):
        replace(some_faces, votes=None).majority()


def test_a_split_that_lies_together_is_not_copied(some_faces: Faces) -> None:
    part = some_faces.select("PublicTest")
    assert np.shares_memory(part.images, some_faces.images)
    assert part.row.tolist() == list(range(14, 28))


@given(st.lists(st.integers(0, 2), min_size=1, max_size=42))
def test_a_split_holds_its_rows_in_their_order(some_faces: Faces, usage: list[int]) -> None:
    faces = replace(some_faces.take(slice(0, len(usage))), usage=np.array(usage, np.uint8))
    for number, name in enumerate(("Training", "PublicTest", "PrivateTest")):
        rows = [row for row, one in enumerate(usage) if one == number]
        if rows:
            part = faces.select(name)
            assert part.row.tolist() == rows
            assert np.array_equal(part.images, some_faces.images[rows])


def test_equal_pixels_have_equal_keys_wherever_they_lie(some_faces: Faces) -> None:
    images = np.concatenate([some_faces.images, some_faces.images[::-1]])
    keys = pixel_keys(images)
    assert keys[:42] == keys[42:][::-1]
    assert len(set(keys)) == 42
    assert pixel_keys(np.asfortranarray(images)) == keys
