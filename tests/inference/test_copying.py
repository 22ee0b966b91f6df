"""The annotated copy: the source's times, sound and shape, in files that browsers play, however it ends."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mien.errors import DataError
from mien.inference.copying import annotated_video
from mien.inference.video import FrameResult, Video
from support.chromium import browser, find_browser

LEVELS = range(10, 250, 12)
"""How bright each frame of the source is."""
FAST = 15
"""How many frames come at 30 a second; the others come at 6."""
ENCODERS = pytest.mark.parametrize("encoder", ["ffmpeg", "OpenCV"])


@pytest.fixture(scope="module")
def ffmpeg(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Runs ffmpeg with some options; gives the file that it wrote."""
    if shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None:
        pytest.skip("no ffmpeg and ffprobe on the PATH")
    folder = tmp_path_factory.mktemp("ffmpeg")

    def run(name: str, *options: object) -> Path:
        command = ["ffmpeg", "-v", "error", "-y", *map(str, options), str(folder / name)]
        subprocess.run(command, check=True, capture_output=True)
        return folder / name

    return run


@pytest.fixture(scope="module")
def varied(ffmpeg: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames at two rates, and a second of a tone."""
    folder = tmp_path_factory.mktemp("frames")
    for number, level in enumerate(LEVELS):
        cv2.imwrite(str(folder / f"{number:02}.png"), np.full((48, 64, 3), level, np.uint8))
    times = f"setpts=if(lt(N\\,{FAST})\\,N/30\\,{FAST}/30+(N-{FAST})/6)/TB"
    frames = ("-framerate", 30, "-i", folder / "%02d.png", "-f", "lavfi", "-i", "sine=duration=1")
    made = ("-vf", times, "-vsync", "vfr", "-pix_fmt", "yuv420p", "-crf", 10, "-bf", 0, "-c:a", "aac")
    return ffmpeg("varied.mp4", *frames, *made)


@contextmanager
def with_encoder(name: str) -> Iterator[None]:
    """Let ffmpeg write the copy, or OpenCV, as where the PATH has no ffmpeg."""
    with pytest.MonkeyPatch.context() as patch:
        if name == "OpenCV":
            patch.setenv("PATH", "")
        yield


def copied(source: Path, out: Path, encoder: str = "ffmpeg") -> str:
    """Copy a video without its faces; gives how it was encoded."""
    with with_encoder(encoder), Video(source) as video, annotated_video(out, video) as copy:
        for frame in video.frames(everything=True):
            copy(FrameResult(frame.number, frame.time, True, (), frame.pixels))
    return str(copy)


def probed(path: Path) -> dict[str, Any]:
    """What ffprobe says of a file: its length and frames' times in seconds, and its streams."""
    command = ["ffprobe", "-v", "error", "-of", "json", "-show_format", "-show_streams", "-show_frames", str(path)]
    said = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    times = [float(one["pts_time"]) for one in said["frames"] if one["media_type"] == "video"]
    streams = {one["codec_type"]: one for one in said["streams"]}
    return {"seconds": float(said["format"]["duration"]), "times": times, **streams}


@ENCODERS
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_the_copy_has_the_sources_times(varied: Path, tmp_path: Path, encoder: str, suffix: str) -> None:
    copied(varied, tmp_path / f"out{suffix}", encoder)
    first: dict[int, float] = {}
    with Video(tmp_path / f"out{suffix}") as video:
        for frame in video.frames(everything=True):
            first.setdefault(int(np.abs(np.array(LEVELS) - frame.pixels.mean()).argmin()), frame.time)
    source = probed(varied)
    assert source["times"][-1] > 1.5 * len(LEVELS) / 30  # an even rate would be far off
    assert list(first) == list(range(len(LEVELS)))
    assert list(first.values()) == pytest.approx(source["times"], abs=0.002)
    assert probed(tmp_path / f"out{suffix}")["seconds"] == pytest.approx(source["seconds"], abs=0.034)


@pytest.mark.parametrize(("suffix", "codecs"), [(".mp4", ("h264", "aac")), (".webm", ("vp9", "opus"))])
def test_the_sound_goes_along_and_is_as_long(
    varied: Path, tmp_path: Path, suffix: str, codecs: tuple[str, str]
) -> None:
    assert copied(varied, tmp_path / f"out{suffix}") == {".mp4": "H.264", ".webm": "VP9"}[suffix] + ", with sound"
    found = probed(tmp_path / f"out{suffix}")
    assert (found["video"]["codec_name"], found["audio"]["codec_name"]) == codecs
    assert found["seconds"] == pytest.approx(probed(varied)["seconds"], abs=0.034)


def test_without_ffmpeg_the_copy_says_that_it_has_no_sound(varied: Path, tmp_path: Path) -> None:
    how = copied(varied, tmp_path / "out.mp4", "OpenCV")
    assert how.endswith("no sound: there is no ffmpeg with libx264 on the PATH")
    assert "audio" not in probed(tmp_path / "out.mp4")


@pytest.mark.skipif(find_browser() is None, reason="no Chromium on the PATH")
@ENCODERS
@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_browsers_play_the_copy(varied: Path, tmp_path: Path, encoder: str, suffix: str) -> None:
    path = find_browser()
    assert path is not None
    copied(varied, tmp_path / f"out{suffix}", encoder)
    (tmp_path / "page.html").write_text(f"<video src=out{suffix} muted autoplay></video>")
    with browser(path) as page:
        page.open(tmp_path / "page.html")
        page.wait("document.querySelector('video').ended")
        assert page.run("document.querySelector('video').getVideoPlaybackQuality().totalVideoFrames") > FAST
        seconds = page.run("document.querySelector('video').duration")
    assert seconds == pytest.approx(probed(varied)["seconds"], abs=0.034)


@ENCODERS
@pytest.mark.parametrize("aspect", ["2", "1/2"])
def test_pixels_become_square(ffmpeg: Callable[..., Path], tmp_path: Path, encoder: str, aspect: str) -> None:
    size = (128, 48) if aspect == "2" else (64, 96)
    source = ffmpeg("wide.mp4", "-f", "lavfi", "-i", f"testsrc=s=64x48:d=1:r=5,setsar={aspect}")
    copied(source, tmp_path / "out.mp4", encoder)
    with Video(source) as video, Video(tmp_path / "out.mp4") as copy:
        assert (video.width, video.height) == (copy.width, copy.height) == size


@ENCODERS
def test_frames_of_another_size_are_not_dropped(varied: Path, tmp_path: Path, encoder: str) -> None:
    with with_encoder(encoder), Video(varied) as video, annotated_video(tmp_path / "out.mp4", video) as copy:
        for number, shape in enumerate([(48, 64, 3), (96, 128, 3), (31, 17, 3)]):
            copy(FrameResult(number, number / 30, True, (), np.full(shape, 128, np.uint8)))
    with Video(tmp_path / "out.mp4") as video:
        assert [frame.pixels.shape for frame in video.frames()] == [(48, 64, 3)] * 3


def test_frames_that_no_encoder_takes_are_refused(varied: Path, tmp_path: Path) -> None:
    with Video(varied) as video:
        video.width = 9000
        with pytest.raises(DataError, match="frames of 9000x48 are too large"), annotated_video(
            tmp_path / "out.mp4", video
        ):
            pass
    assert list(tmp_path.iterdir()) == []


@ENCODERS
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_ends_before_the_first_frame_leaves_no_copy(
    varied: Path, tmp_path: Path, encoder: str, error: type[BaseException]
) -> None:
    with pytest.raises(error), with_encoder(encoder), Video(varied) as video:
        with annotated_video(tmp_path / "out.mp4", video):
            raise error
    assert list(tmp_path.iterdir()) == []


def test_where_ffmpeg_dies_there_is_one_error_and_no_file(
    varied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[subprocess.Popen[bytes]] = []
    start = subprocess.Popen

    def noted(*arguments: Any, **options: Any) -> Any:
        started.append(start(*arguments, **options))
        return started[-1]

    with Video(varied) as video:
        monkeypatch.setattr(subprocess, "Popen", noted)
        with pytest.raises(DataError, match=r"out.mp4: not all frames could be written \(ffmpeg: exit code -9\)"), (
            annotated_video(tmp_path / "out.mp4", video)
        ) as copy:
            frame = next(video.frames())
            for number in range(2000):
                copy(FrameResult(number, number / 30, True, (), frame.pixels))
                if number == 50:
                    started[-1].kill()
            pytest.fail("it went on without ffmpeg")
    assert [one.returncode for one in started[-1:]] == [-9]
    assert list(tmp_path.iterdir()) == []
