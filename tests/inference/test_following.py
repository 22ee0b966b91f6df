"""Searching near known faces finds what searching every frame in whole does, new faces within 0.3 s, and costs less."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mien.inference import Detection, Predictor
from mien.inference.detection import YuNet
from mien.inference.following import INTERVAL, FollowingSearch
from mien.inference.tracking import Tracker, overlap
from mien.inference.video import Video, watch

Pixels = NDArray[np.uint8]
RATE, SIZE = 25, (640, 480)


class Counting:
    """YuNet that counts its searches of whole frames, and all pixels that it gets."""

    framing, smallest = YuNet.framing, YuNet.smallest

    def __init__(self) -> None:
        self.detector = YuNet(threads=1)
        self.side, self.whole, self.pixels = self.detector.side, 0, 0

    def __call__(self, image: Pixels) -> Sequence[Detection]:
        self.whole += image.shape[:2] == SIZE[::-1]
        self.pixels += image.shape[0] * image.shape[1]
        return self.detector(image)


@pytest.fixture(scope="module")
def photo() -> Pixels:
    data = pytest.importorskip("matplotlib.cbook").get_sample_data("grace_hopper.jpg")
    return np.asarray(Image.open(data).convert("RGB"))[60:430, 120:430]


def frame(photo: Pixels, *places: tuple[float, float, float, float]) -> Pixels:
    """The photo at each place: centre, height (pixels) and how opaque it is, over a ground with a structure."""
    waves = 110 + 30 * np.sin(np.add.outer(np.arange(SIZE[1]), 2 * np.arange(SIZE[0])) / 17)
    made = np.repeat(waves[..., None], 3, 2)
    for x, y, high, opaque in places:
        face = cv2.resize(photo, (round(high * 0.84), round(high)), interpolation=cv2.INTER_AREA)
        left, top = round(x) - face.shape[1] // 2, round(y) - face.shape[0] // 2
        part = made[max(0, top) : top + face.shape[0], max(0, left) : left + face.shape[1]]
        shown = face[max(0, -top) :, max(0, -left) :][: part.shape[0], : part.shape[1]]
        part += opaque * (shown - part)
    return made.astype(np.uint8)


def moving(photo: Pixels, frames: int = 60) -> Iterator[Pixels]:
    """Two faces that move and zoom; the second fades, and is cut by the frame's edge for a while."""
    for number in range(frames):
        t = number / RATE
        first = (220 + 110 * np.sin(3 * t), 200 + 60 * np.cos(2 * t), 210 + 80 * np.sin(4 * t), 1.0)
        yield frame(photo, first, (560 + 70 * np.sin(2 * t), 300.0, 150.0, 0.65 + 0.35 * np.cos(3 * t)))


def found_in_whole(face: Detection, found: Sequence[Detection]) -> float:
    return max((overlap(face.box, one.box) for one in found), default=0.0)


def test_moving_faces_are_found_where_every_frame_searched_in_whole_finds_them(photo: Pixels) -> None:
    detector, shares, missed = Counting(), [], 0
    search, whole = FollowingSearch(detector), YuNet(threads=1)
    for number, image in enumerate(moving(photo)):
        found, expected = search(number / RATE, detector, image), whole(image)
        assert len(found) <= len(expected) + 1
        best = [found_in_whole(face, found) for face in expected]
        shares += [share for share in best if share > 0.3]
        missed += sum(share <= 0.3 for share in best)
    assert missed == 0
    assert np.median(shares) > 0.88
    assert min(shares) > 0.7
    assert detector.whole <= 60 / RATE / INTERVAL + 4
    assert detector.pixels < 0.5 * 60 * SIZE[0] * SIZE[1]


@pytest.mark.parametrize("rate", [6, 25, 30, 60])
@pytest.mark.parametrize("known", [0, 1])
def test_a_new_face_is_found_in_time(photo: Pixels, rate: int, known: int) -> None:
    detector = YuNet(threads=1)
    search, old, new = FollowingSearch(detector), (160.0, 240.0, 200.0, 1.0), (480.0, 240.0, 200.0, 1.0)
    images = [frame(photo, *[old] * known), frame(photo, *[old] * known, new)]
    counts = [len(search(number / rate, detector, images[number > 0])) for number in range(round(0.7 * rate) + 2)]
    assert counts[0] == known
    first = counts.index(known + 1)
    assert (first - 1) / rate < 0.3
    assert set(counts[first:]) == {known + 1}


def test_a_face_that_jumps_is_found_in_the_same_frame(photo: Pixels) -> None:
    detector = Counting()
    search = FollowingSearch(detector)
    for number, x in enumerate((150.0, 155.0, 480.0, 485.0)):
        (face,) = search(number / RATE, detector, frame(photo, (x, 240, 220, 1)))
        assert abs(face.box[0] + face.box[2] / 2 - x) < 40
    assert detector.whole == 2


@pytest.mark.parametrize("jump", range(20, 200, 20))
def test_a_face_that_the_square_cuts_has_its_whole_box(photo: Pixels, jump: int) -> None:
    detector = YuNet(threads=1)
    search, moved = FollowingSearch(detector), frame(photo, (200 + jump, 240, 220, 1))
    search(0.0, detector, frame(photo, (200, 240, 220, 1)))
    ((face,), (expected,)) = search(1 / RATE, detector, moved), detector(moved)
    assert overlap(face.box, expected.box) > 0.8


def test_a_face_hidden_for_a_moment_is_found_in_the_frame_in_which_it_is_back(photo: Pixels) -> None:
    detector = Counting()
    search, shown, hidden = FollowingSearch(detector), frame(photo, (300, 240, 220, 1)), frame(photo)
    found = [len(search(n / RATE, detector, image)) for n, image in enumerate((shown, hidden, hidden, shown))]
    assert found == [1, 0, 0, 1]
    assert detector.whole == 2


def test_neighbours_are_each_found_once(photo: Pixels) -> None:
    detector = Counting()
    search, places = FollowingSearch(detector), [(x, 240.0, 160.0, 1.0) for x in (130, 265, 400, 535)]
    for number in range(6):
        assert len(search(number / RATE, detector, frame(photo, *places))) == 4
    assert detector.whole == 1


def test_where_parts_would_cost_more_the_whole_is_searched(photo: Pixels) -> None:
    detector = Counting()
    search = FollowingSearch(detector)
    crowd = [(60 + 100 * (n % 6), 120 + 200 * (n // 6), 100.0, 1.0) for n in range(12)]
    image = frame(photo, *crowd)
    for number in range(3):
        assert len(search(number / RATE, detector, image)) > 8
    assert detector.whole == 3


def test_without_an_interval_or_a_size_every_frame_is_searched_in_whole(photo: Pixels) -> None:
    counting, image = Counting(), frame(photo, (300, 240, 220, 1))

    class Plain:
        framing = None

        def __call__(self, image: Pixels) -> Sequence[Detection]:
            return counting(image)

    for search in (FollowingSearch(counting, 0), FollowingSearch(Plain())):
        before = counting.whole
        for number in range(3):
            search(number / RATE, counting, image)
        assert counting.whole == before + 3


def test_a_video_has_the_tracks_and_boxes_of_every_frame_searched_in_whole(photo: Pixels, tmp_path: Path) -> None:
    path, detector = tmp_path / "clip.mp4", Counting()
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, SIZE)
    for image in moving(photo, 40):
        writer.write(image[..., ::-1].copy())
    writer.release()
    predictor, results = Predictor("tiny", threads=1, detector=detector), []
    for interval in (0, INTERVAL):
        with Video(path) as video:
            results.append(list(watch(video, predictor, tracker=Tracker(), interval=interval)))
        detector.whole, before = 0, detector.whole
    assert before < 40 / RATE / INTERVAL + 4
    for whole, near in zip(*results, strict=True):
        assert near.processed
        pairs = {one.track: one.face.box for one in near.faces}
        assert {one.track for one in whole.faces} <= set(pairs)
        assert all(overlap(one.face.box, pairs[one.track]) > 0.7 for one in whole.faces)
