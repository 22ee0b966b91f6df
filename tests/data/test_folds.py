"""Folds of Training: every face in one part, copies together, classes spread evenly."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mien.data import Faces
from mien.data.faces import Usage
from mien.data.folds import fold
from mien.errors import DataError


def test_every_training_face_is_held_out_once_and_no_other_is_there(drawn: Faces) -> None:
    parts = [fold(drawn, number, 4) for number in (1, 2, 3, 4)]
    training = drawn.select(Usage.TRAINING)
    held = np.concatenate([part.select(Usage.TEST).row for part in parts])
    assert sorted(held) == sorted(training.row)
    for part in parts:
        assert part.splits().keys() == {"Training", "test"}
        assert len(part) == len(training)
        counts = np.array(list(part.select(Usage.TEST).label_counts().values()))
        assert np.abs(counts - np.array(list(training.label_counts().values())) / 4).max() <= 2
    assert parts[1].name == f"{drawn.name}, fold 2 of 4 of Training"
    assert fold(drawn, 2, 4).fingerprint == parts[1].fingerprint


def test_faces_with_the_same_pixels_stay_together(drawn: Faces) -> None:
    twice = replace(
        drawn,
        images=np.concatenate([drawn.images, drawn.images]),
        emotion=np.concatenate([drawn.emotion, (drawn.emotion + 1) % 7]),
        usage=np.zeros(300, np.uint8),
        row=np.arange(300),
    )
    part = fold(twice, 1, 3)
    assert part.select(Usage.TEST).clean(part.select(Usage.TRAINING)).all()


@pytest.mark.parametrize(("number", "count"), [(0, 5), (6, 5), (1, 1), (1, 0), (-1, 5)])
def test_a_fold_that_is_none_is_one_clear_error(drawn: Faces, number: int, count: int) -> None:
    with pytest.raises(DataError, match=f"there is no fold {number} of {count}"):
        fold(drawn, number, count)


def test_too_few_faces_are_one_clear_error(drawn: Faces) -> None:
    with pytest.raises(DataError, match="too few for 500 folds"):
        fold(drawn, 500, 500)
    with pytest.raises(DataError, match="no faces in the split Training"):
        fold(drawn.select(Usage.PUBLIC_TEST), 1, 5)
