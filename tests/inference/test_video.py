"""Videos: every frame counted, what is no video refused, and no thread left behind."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.errors import DataError
from mien.inference import Predictor
from mien.inference.tracking import Tracker
from mien.inference.video import Video, watch

FRAMES, RATE = 20, 10


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("video") / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), RATE, (64, 48))
    for number in range(FRAMES):
        writer.write(np.full((48, 64, 3), 8 * number, np.uint8))
    writer.release()
    return path


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor(detector="none", threads=1, batch=8)


@pytest.mark.parametrize(
    ("every", "pixels", "looked", "given"),
    [(1, False, range(FRAMES), FRAMES), (7, False, (0, 7, 14), 3), (7, True, (0, 7, 14), FRAMES)],
)
def test_every_frame_is_counted_and_those_wanted_are_looked_at(
    clip: Path, predictor: Predictor, every: int, pixels: bool, looked: tuple[int, ...], given: int
) -> None:
    with Video(clip) as video:
        found = list(watch(video, predictor, every, Tracker(), pixels))
        assert (video.count, video.seconds, video.notes) == (FRAMES, pytest.approx(FRAMES / RATE), [])
    assert [one.number for one in found if one.looked] == list(looked)
    assert len(found) == given
    assert {face.track for one in found for face in one.faces} == {1}


def test_a_consumer_that_leaves_early_leaves_no_thread(clip: Path, predictor: Predictor) -> None:
    before = threading.active_count()
    with Video(clip) as video:
        seen = watch(video, predictor)
        assert next(seen).number == 0
        seen.close()
    assert threading.active_count() == before


@pytest.mark.parametrize("name", ["empty.mp4", "text.mp4", "gone.mp4", "folder", "http://localhost/x.mp4"])
def test_what_is_no_video_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "text.mp4").write_text("not a video")
    (tmp_path / "folder").mkdir()
    with pytest.raises(DataError):
        Video(name if "://" in name else tmp_path / name)
