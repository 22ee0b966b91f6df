"""``mien video`` as a user runs it, with real signals: what it prints, and what it leaves when it is stopped."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from conftest import Ran
from support.file_server import served

Mien = Callable[..., Ran]
FRAMES, RATE = 12, 6
FAST = ("--model", "tiny", "--threads", 1)


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real face that moves slowly over a gray ground; at the end it is gone."""
    data = pytest.importorskip("matplotlib.cbook").get_sample_data("grace_hopper.jpg")
    photo = np.asarray(Image.open(data).convert("RGB").resize((128, 152)))[..., ::-1]
    path = tmp_path_factory.mktemp("walk") / "walk.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), RATE, (224, 160))
    for number in range(FRAMES):
        frame = np.full((160, 224, 3), 110, np.uint8)
        if number < FRAMES - 3:
            frame[4:156, 10 + 4 * number : 138 + 4 * number] = photo
        writer.write(frame)
    writer.release()
    return path


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """6,000 frames of crops: no machine is through them before it is stopped."""
    path = tmp_path_factory.mktemp("long") / "long.avi"
    writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), 25, (48, 48))
    ramp = np.add.outer(np.arange(48), np.arange(48)).astype(np.uint8)
    for number in range(6_000):
        writer.write(np.dstack([np.roll(ramp, number, 1) * 2] * 3))
    writer.release()
    return path


@pytest.fixture(scope="module")
def cut(long: Path) -> Path:
    """The first fortieth of it."""
    path = long.with_name("cut.avi")
    path.write_bytes(long.read_bytes()[: long.stat().st_size // 40])
    return path


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def count_frames(path: Path) -> int:
    capture, count = cv2.VideoCapture(str(path)), 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


def test_a_face_is_followed_and_every_file_is_written(mien: Mien, walk: Path, tmp_path: Path) -> None:
    outputs = [tmp_path / "deep" / name for name in ("out.csv", "out.parquet", "out.mp4", "out.png")]
    options = zip(("--csv", "--parquet", "--annotate", "--plot"), outputs, strict=True)
    ran = mien("video", walk, *FAST, *(part for option in options for part in option))
    assert ran.code == 0
    assert f"{walk}: {FRAMES} frames (0:02), {FRAMES} processed, {FRAMES - 3} faces" in ran.out
    row = next(line for line in ran.out.splitlines() if line.startswith("│ 1 "))
    assert [cell.strip() for cell in row.split("│")][3:6] == ["0:00.0", "0:01.3", str(FRAMES - 3)]
    written = [line.partition(" (") for line in ran.err.splitlines() if line.startswith("wrote")]
    assert [name for name, _, _ in written] == [f"wrote {path}" for path in outputs]
    assert written[2][2].startswith(("H.264", "VP9", "MPEG-4"))
    assert sorted(path.name for path in outputs[0].parent.iterdir()) == sorted(path.name for path in outputs)
    rows = table(outputs[0])
    assert [row["frame"] for row in rows] == [str(number) for number in range(FRAMES)]
    assert [row["track"] for row in rows] == ["1"] * (FRAMES - 3) + [""] * 3
    lefts = [int(row["x"]) for row in rows[:-3]]
    assert lefts[-1] - lefts[0] == pytest.approx(4 * (FRAMES - 4), abs=6)
    assert count_frames(outputs[2]) == FRAMES


def test_json_is_one_document(mien: Mien, walk: Path) -> None:
    ran = mien("video", walk, *FAST, "--json", "--every", 4)
    assert (ran.code, ran.err) == (0, "")
    found = json.loads(ran.out)
    assert (found["frames"], found["processed"], found["faces"], found["tracks"]) == (FRAMES, 3, 3, 1)
    assert (found["seconds"], found["stopped"], found["notes"], found["written"]) == (FRAMES / RATE, False, [], [])
    (track,) = found["longest"]
    assert (track["track"], track["first"], track["detections"]) == (1, 0, 3)
    assert track["last"] == pytest.approx(8 / RATE)
    assert sum(track["probabilities"].values()) == pytest.approx(1)


def test_searching_every_frame_in_whole_gives_the_same_track(mien: Mien, walk: Path) -> None:
    ran = mien("video", walk, *FAST, "--json", "--search-interval", 0)
    found = json.loads(ran.out)
    assert (ran.code, found["processed"], found["faces"], found["tracks"]) == (0, FRAMES, FRAMES - 3, 1)
    assert mien("video", walk, "--search-interval", -1).code == 2


def test_an_address_is_read_as_a_file_is(mien: Mien, walk: Path) -> None:
    with served(walk.parent) as address:
        ran = mien("video", f"{address}{walk.name}", *FAST, "--allow-urls", "--every", 4, "--json")
    assert (ran.code, json.loads(ran.out)["frames"]) == (0, FRAMES)


def test_without_tracks_all_faces_are_one_row(mien: Mien, walk: Path, tmp_path: Path) -> None:
    options = ("--no-track", "--detector", "none", "--min-confidence", 1, "--csv", tmp_path / "out.csv")
    ran = mien("video", walk, *FAST, *options)
    assert ran.code == 0
    assert [line.split("│")[1].strip() for line in ran.out.splitlines() if line.startswith("│")] == ["all"]
    rows = table(tmp_path / "out.csv")
    assert {(row["track"], row["emotion"], row["box_width"]) for row in rows} == {("", "uncertain", "224")}


def test_a_video_that_was_cut_gives_what_it_has_and_says_so(mien: Mien, cut: Path, tmp_path: Path) -> None:
    ran = mien("video", cut, *FAST, "--detector", "none", "--every", 50, "--csv", tmp_path / "out.csv")
    rows = table(tmp_path / "out.csv")
    assert ran.code == 0
    assert 50 < len(rows) < 400
    assert [row["frame"] for row in rows] == [str(number) for number in range(len(rows))]
    assert f"cut or damaged: {len(rows)} of 6,000 frames could be read" in ran.err


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["gone.mp4"], "no such file"),
        (["text.mp4", "--csv", "text.mp4"], "replace the input"),
        (["walk", "--annotate", "out.avi"], "Name a file that ends in .mp4"),
        (["http://127.0.0.1/walk.mp4"], "Add --allow-urls"),
        (["walk", "--plot", "out.gif"], "as PNG or SVG"),
        (["walk", "--csv", "text.mp4/out.csv"], "cannot be written"),
        (["walk", "--model", "gone"], "gone"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    mien: Mien, walk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("text.mp4").write_text("not a video")
    ran = mien("video", *(walk if one == "walk" else one for one in arguments))
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert what in ran.err
    assert [path.name for path in tmp_path.iterdir()] == ["text.mp4"]


@contextmanager
def running(*arguments: object, limit: int | None = None) -> Iterator[subprocess.Popen[str]]:
    """``mien video ARGS`` as a process of its own that hears Ctrl-C, whatever the tests were started from."""

    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        if limit is not None:
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-m", "mien", "video", *map(str, arguments)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, preexec_fn=prepare, **pipes) as process:  # type: ignore[call-overload]
        try:
            yield process
        finally:
            process.kill()


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    ends = time.monotonic() + 60
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends
        time.sleep(0.05)


@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent as on Unix")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_whole_files(long: Path, tmp_path: Path, number: int, code: int) -> None:
    files = {name: tmp_path / f"out.{name}" for name in ("csv", "parquet", "mp4", "png")}
    written = ("--csv", files["csv"], "--parquet", files["parquet"], "--annotate", files["mp4"], "--plot", files["png"])
    growing = tmp_path / "out.part.csv"
    with running(long, *FAST, "--detector", "none", *written) as process:
        wait_for(lambda: growing.exists() and growing.stat().st_size > 20_000, process)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == code
    frames = [int(row["frame"]) for row in table(files["csv"])]
    assert frames == list(range(len(frames)))
    assert err == f"error: interrupted after {len(frames):,} frames; saved: {', '.join(map(str, files.values()))}\n"
    assert f"{len(frames):,} processed" in out
    assert count_frames(files["mp4"]) == len(frames)
    assert pytest.importorskip("pyarrow.parquet").read_table(files["parquet"]).num_rows == len(frames)
    assert sorted(tmp_path.iterdir()) == sorted(files.values())


def test_what_decoders_say_of_a_broken_file_is_not_heard(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("not a video")
    with running(tmp_path / "text.mp4") as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.count("\n")) == (2, "", 1), err
    assert "it is not a readable video" in err


@pytest.mark.skipif(sys.platform == "win32", reason="no limit of file sizes")
@pytest.mark.parametrize(
    ("name", "option", "what"),
    [
        ("out.csv", "--csv", "it cannot be written (File too large)"),
        ("out.mp4", "--annotate", "frames could be written"),
    ],
)
def test_a_file_that_cannot_be_finished_is_said_in_one_line(
    cut: Path, tmp_path: Path, name: str, option: str, what: str
) -> None:
    out = tmp_path / name
    with running(cut, *FAST, "--detector", "none", "--every", 50, option, out, limit=8_000) as process:
        printed, err = process.communicate(timeout=60)
    assert (process.returncode, printed, err.count("\n")) == (2, "", 1), err
    assert what in err
    if option == "--csv":
        rows = table(out)
        assert [int(row["frame"]) for row in rows] == list(range(len(rows)))
        assert rows[-1]["Neutral"]
    assert [path.name for path in tmp_path.iterdir()] == (["out.csv"] if option == "--csv" else [])
