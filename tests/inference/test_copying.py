"""The annotated copy: the source's times, sound and shape, in files that browsers play, however it ends."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
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
from support.ffmpeg import made_by_ffmpeg, probed

LEVELS = range(10, 250, 12)
"""How bright each frame of the source is."""
FAST = 15
"""How many frames come at 30 a second; the others come at 6."""
ENCODERS = pytest.mark.parametrize("encoder", ["ffmpeg", "OpenCV"])


@pytest.fixture(scope="module")
def varied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames at two rates, and a second of a tone."""
    folder = tmp_path_factory.mktemp("frames")
    for number, level in enumerate(LEVELS):
        cv2.imwrite(str(folder / f"{number:02}.png"), np.full((48, 64, 3), level, np.uint8))
    times = f"setpts=if(lt(N\\,{FAST})\\,N/30\\,{FAST}/30+(N-{FAST})/6)/TB"
    frames = ("-framerate", 30, "-i", folder / "%02d.png", "-f", "lavfi", "-i", "sine=duration=1")
    made = ("-vf", times, "-vsync", "vfr", "-pix_fmt", "yuv420p", "-crf", 10, "-bf", 0, "-c:a", "aac")
    return made_by_ffmpeg(folder / "varied.mp4", *frames, *made)


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
    assert probed(tmp_path / f"out{suffix}")["seconds"] == pytest.approx(source["seconds"], abs=0.025)  # of sound


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
def test_pixels_become_square(tmp_path: Path, encoder: str, aspect: str) -> None:
    size = (128, 48) if aspect == "2" else (64, 96)
    options = ("-f", "lavfi", "-i", f"testsrc=s=64x48:d=1:r=5,setsar={aspect}")
    source = made_by_ffmpeg(tmp_path / "wide.mp4", *options)
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
        with (
            pytest.raises(DataError, match="frames of 9000x48 are too large"),
            annotated_video(tmp_path / "out.mp4", video),
        ):
            pass
    assert list(tmp_path.iterdir()) == []


@ENCODERS
@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_what_ends_before_the_first_frame_leaves_no_copy(
    varied: Path, tmp_path: Path, encoder: str, error: type[BaseException]
) -> None:
    out = tmp_path / "out.mp4"
    with pytest.raises(error), with_encoder(encoder), Video(varied) as video, annotated_video(out, video):
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

    def killed_on_the_way() -> None:
        with Video(varied) as video, annotated_video(tmp_path / "out.mp4", video) as copy:
            pixels = next(video.frames()).pixels
            for number in range(2000):
                copy(FrameResult(number, number / 30, True, (), pixels))
                if number == 50:
                    started[-1].kill()

    monkeypatch.setattr(subprocess, "Popen", noted)
    with pytest.raises(DataError, match=r"out.mp4: not all frames could be written \(ffmpeg: exit code -9\)"):
        killed_on_the_way()
    assert [process.returncode is None for process in started] == [False] * len(started)
    assert list(tmp_path.iterdir()) == []
