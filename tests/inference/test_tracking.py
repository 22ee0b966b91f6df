"""Tracks: who is who from frame to frame, and smoothing that knows the time."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.emotions import LABELS
from mien.inference import Face
from mien.inference.tracking import Tracker, overlap


def face(left: int, top: int = 0, happy: float = 1.0, side: int = 40) -> Face:
    """A face that is Happy for a part and Neutral for the rest."""
    shares = dict.fromkeys(LABELS, 0.0) | {"Happy": happy, "Neutral": 1 - happy}
    return Face((left, top, side, side), shares)


def test_overlap_by_hand() -> None:
    assert overlap((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert overlap((0, 0, 10, 10), (5, 0, 10, 10)) == pytest.approx(50 / 150)
    assert overlap((0, 0, 10, 10), (10, 0, 10, 10)) == 0


def test_two_faces_keep_their_numbers_as_they_pass_by_in_any_order() -> None:
    tracker = Tracker()
    for frame in range(20):
        faces = [face(2 * frame), face(200 - 2 * frame, top=100)]
        found = tracker.update(frame / 25, faces[:: -1 if frame % 2 else 1])
        numbers = {one.face.box[1]: one.track for one in found}
        assert numbers == {0: 1, 100: 2}


def test_a_track_ends_after_its_patience_and_its_number_is_not_given_again() -> None:
    tracker = Tracker(patience=0.5)
    assert tracker.update(0.0, [face(0)])[0].track == 1
    for moment in (0.2, 0.4):
        assert tracker.update(moment, []) == ()
    assert tracker.update(0.5, [face(0)])[0].track == 1
    for moment in (0.8, 1.1, 1.4):
        tracker.update(moment, [])
    assert tracker.update(1.5, [face(0)])[0].track == 2


@pytest.mark.parametrize("rate", [5, 25, 100])
def test_smoothing_depends_on_time_and_not_on_the_frame_rate(rate: int) -> None:
    tracker = Tracker(smoothing=0.5)
    tracker.update(0.0, [face(0, happy=0.0)])
    for frame in range(1, rate + 1):
        (found,) = tracker.update(frame / rate, [face(0)])
    assert found.face.probabilities["Happy"] == pytest.approx(1 - math.exp(-2), abs=1e-9)


boxes = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300)), max_size=6, unique=True)


@given(st.lists(boxes, max_size=8))
def test_the_order_within_a_frame_changes_nothing(frames: list[list[tuple[int, int]]]) -> None:
    first, other = Tracker(), Tracker()
    for moment, places in enumerate(frames):
        faces = [face(left, top) for left, top in places]
        turned = faces[::-1]
        found = {one.face.box: one.track for one in first.update(moment / 10, faces)}
        again = {one.face.box: one.track for one in other.update(moment / 10, turned)}
        assert found == again
        assert len(set(found.values())) == len(faces)


@pytest.mark.parametrize("settings", [{"smoothing": -1.0}, {"least": 0.0}, {"least": 1.1}, {"patience": -0.1}])
def test_senseless_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        Tracker(**settings)
