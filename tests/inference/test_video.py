"""Videos: every frame counted, what is no video refused, and no thread left behind."""

from __future__ import annotations

import shlex
import subprocess
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from mien.errors import DataError
from mien.inference import Predictor
from mien.inference.tracking import Tracker
from mien.inference.video import Video, watch
from support.ffmpeg import made_by_ffmpeg
from support.file_server import served

FRAMES, RATE = 20, 10
PATTERN = ("-f", "lavfi", "-i", f"testsrc=s=64x48:r={FRAMES}:d=2", "-pix_fmt", "yuv420p")


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
    ("every", "pixels", "processed", "given"),
    [(1, False, range(FRAMES), FRAMES), (7, False, (0, 7, 14), 3), (7, True, (0, 7, 14), FRAMES)],
)
def test_every_frame_is_counted_and_those_wanted_are_looked_at(
    clip: Path, predictor: Predictor, every: int, pixels: bool, processed: tuple[int, ...], given: int
) -> None:
    with Video(clip) as video:
        found = list(watch(video, predictor, every, Tracker(), pixels))
        assert (video.count, video.seconds, video.notes) == (FRAMES, pytest.approx(FRAMES / RATE), [])
    assert [one.number for one in found if one.processed] == list(processed)
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


def test_a_codec_that_cannot_be_decoded_is_named_with_what_converts_it(tmp_path: Path) -> None:
    """Advice to convert it to MP4 is of no use: it is MP4."""
    source = made_by_ffmpeg(tmp_path / "a b.mp4", *PATTERN, "-c:v", "libaom-av1", "-cpu-used", 8)
    with pytest.raises(DataError, match=r"OpenCV can decode no frame of it \(its codec: AV1\)") as caught:
        Video(source)
    assert caught.value.mend is not None
    converted = shlex.split(caught.value.mend.partition(": ")[2].replace("OUT.mp4", str(tmp_path / "out.mp4")))
    subprocess.run(converted, check=True, capture_output=True)
    with Video(tmp_path / "out.mp4") as video:
        assert len(list(video.frames())) == 2 * FRAMES


def test_a_trimmed_file_is_not_called_cut_and_a_cut_one_is(tmp_path: Path) -> None:
    """An edit list shows the second half of its frames; all the others are in the file, too."""
    whole = made_by_ffmpeg(tmp_path / "whole.mp4", *PATTERN, "-g", 100)
    shown = ("-ss", 1, "-i", whole, "-c", "copy", "-movflags", "+faststart")
    trimmed, cut = made_by_ffmpeg(tmp_path / "trimmed.mp4", *shown), tmp_path / "cut.mp4"
    cut.write_bytes(trimmed.read_bytes()[: trimmed.stat().st_size * 9 // 10])
    with Video(whole) as video:
        assert (len(list(video.frames())), video.expected, video.notes) == (2 * FRAMES, 2 * FRAMES, [])
    with Video(trimmed) as video:
        assert (len(list(video.frames())), video.expected, video.notes) == (FRAMES, FRAMES, [])
    with Video(cut) as video:
        found = len(list(video.frames()))
        assert 0 < found < FRAMES
        assert video.notes == [f"cut or damaged: {found} of {FRAMES} frames could be read"]


def test_an_address_is_opened_only_where_that_is_allowed(clip: Path) -> None:
    with served(clip.parent) as address:
        with pytest.raises(DataError, match="addresses are not opened unless allowed"):
            Video(f"{address}clip.mp4")
        with Video(f"{address}clip.mp4", allow_urls=True) as video:
            times = [frame.time for frame in video.frames()]
        assert times == pytest.approx([number / RATE for number in range(FRAMES)])
        with pytest.raises(DataError, match="Does the address answer") as caught:
            Video(f"{address.replace('//', '//user:secret@')}gone.mp4", allow_urls=True)
    assert "secret" not in str(caught.value)
    with pytest.raises(DataError, match="only http, https, rtsp, rtsps addresses"):
        Video("file://" + str(clip), allow_urls=True)
