"""What is kept of a video: a row for every frame however it ends, a copy that plays, and memory that does not grow."""

from __future__ import annotations

import csv
import shutil
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mien.emotions import LABELS
from mien.errors import DataError
from mien.inference import Detection, Face, Predictor
from mien.inference.recording import Outputs, columns, record
from mien.inference.timeline import BINS, TRACKS, Timeline, clock, draw_timeline
from mien.inference.tracking import TrackedFace, Tracker
from mien.inference.video import FrameResult, Video

FRAMES, RATE, SIZE = 24, 10, (63, 47)
DARK = (5, 6, 7, 12)
"""The frames without a face."""


class Bright:
    """Two faces in a bright picture, none in a dark one."""

    framing = None

    def __call__(self, image: NDArray[np.uint8]) -> Sequence[Detection]:
        places = () if image.mean() < 60 else ((2.0, 4.0), (34.0, 10.0))
        return [Detection((left, top, 24.0, 24.0), 0.5 + top / 100) for left, top in places]


def write_clip(path: Path, frames: int, size: tuple[int, int] = SIZE, dark: Sequence[int] = ()) -> Path:
    """A video of noise; OpenCV's own writer alone leaves odd sizes as they are."""
    rng = np.random.default_rng(0)
    fourcc = cv2.VideoWriter.fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, fourcc, RATE, size)
    assert writer.isOpened()
    noise = rng.integers(90, 250, (size[1], size[0], 3), dtype=np.uint8)
    for number in range(frames):
        writer.write(noise // 8 if number in dark else np.roll(noise, number, 1))
    writer.release()
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("recording") / "clip.avi", FRAMES, dark=DARK)


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor("tiny", threads=1, detector=Bright(), batch=8)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def frames_of(path: Path) -> list[NDArray[np.uint8]]:
    capture, found = cv2.VideoCapture(str(path)), []
    while (read := capture.read())[0]:
        found.append(np.asarray(read[1], np.uint8))
    capture.release()
    return found


def test_every_frame_has_its_rows_and_those_without_a_face_have_one(
    clip: Path, predictor: Predictor, tmp_path: Path
) -> None:
    with Video(clip) as video:
        found = record(video, predictor, Outputs(tmp_path / "out.csv", tmp_path / "out.parquet"), tracker=Tracker())
    rows = table(tmp_path / "out.csv")
    assert list(rows[0]) == columns(LABELS)
    expected = [number for number in range(FRAMES) for _ in range(1 if number in DARK else 2)]
    assert [int(row["frame"]) for row in rows] == expected
    assert [float(row["time"]) for row in rows] == pytest.approx([number / RATE for number in expected])
    for row in rows:
        empty = int(row["frame"]) in DARK
        assert {name for name in row if not row[name]} == ({*columns(LABELS)[4:]} if empty else set())
        assert row["faces"] == ("0" if empty else "2")
        assert empty or sum(float(row[name]) for name in LABELS) == pytest.approx(1)
    assert {row["track"] for row in rows} == {"", "1", "2"}
    assert (found.frames, found.processed, found.faces, found.tracks) == (FRAMES, FRAMES, 2 * (FRAMES - len(DARK)), 2)
    same = pytest.importorskip("pyarrow.parquet").read_table(tmp_path / "out.parquet").to_pylist()
    assert [{name: "" if cell is None else str(cell) for name, cell in row.items()} for row in same] == rows


def test_between_looks_the_last_faces_stand(clip: Path, predictor: Predictor, tmp_path: Path) -> None:
    with Video(clip) as video:
        found = record(video, predictor, Outputs(tmp_path / "out.csv"), every=5)
    rows = table(tmp_path / "out.csv")
    assert (found.frames, found.processed, found.tracks) == (FRAMES, 5, 0)
    assert sorted({int(row["frame"]) for row in rows}) == list(range(FRAMES))
    assert {int(row["frame"]) for row in rows if row["processed"] == "True"} == {0, 5, 10, 15, 20}
    # Frame 5 is dark, and 6 to 9 were not looked at.
    assert {int(row["frame"]) for row in rows if row["faces"] == "0"} == {5, 6, 7, 8, 9}


def test_without_a_table_every_frame_is_counted_all_the_same(clip: Path, predictor: Predictor) -> None:
    numbers: list[int] = []
    with Video(clip) as video:
        found = record(video, predictor, every=7, on_frame=lambda result: numbers.append(result.number))
    assert (found.frames, found.seconds, numbers) == (FRAMES, pytest.approx(FRAMES / RATE), [0, 7, 14, 21])


def test_the_table_can_be_read_while_it_grows(clip: Path, predictor: Predictor, tmp_path: Path) -> None:
    known: list[list[int]] = []

    def on_frame(result: FrameResult) -> None:
        known.append(sorted({int(row["frame"]) for row in table(tmp_path / "out.part.csv")}))

    with Video(clip) as video:
        record(video, predictor, Outputs(tmp_path / "out.csv"), on_frame=on_frame)
    assert known == [list(range(number + 1)) for number in range(FRAMES)]
    assert [path.name for path in tmp_path.iterdir()] == ["out.csv"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), DataError("it breaks")])
def test_what_breaks_in_the_middle_leaves_what_came_before(
    clip: Path, predictor: Predictor, tmp_path: Path, error: BaseException
) -> None:
    def on_frame(result: FrameResult) -> None:
        if result.number == 9:
            raise error

    outputs = Outputs(tmp_path / "out.csv", tmp_path / "out.parquet", tmp_path / "out.mp4")
    before = threading.active_count()
    with Video(clip) as video, pytest.raises(type(error)):
        record(video, predictor, outputs, on_frame=on_frame)
    assert threading.active_count() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "out.mp4", "out.parquet"]
    assert sorted({int(row["frame"]) for row in table(tmp_path / "out.csv")}) == list(range(10))
    assert len(frames_of(tmp_path / "out.mp4")) == 10
    rows = pytest.importorskip("pyarrow.parquet").read_table(tmp_path / "out.parquet")
    assert sorted(set(rows["frame"].to_pylist())) == list(range(10))


def test_a_stop_ends_as_the_video_would(clip: Path, predictor: Predictor, tmp_path: Path) -> None:
    stop = threading.Event()
    with Video(clip) as video:
        outputs = Outputs(tmp_path / "out.csv", plot=tmp_path / "out.png")
        found = record(video, predictor, outputs, stop=stop, on_frame=lambda result: stop.set())
    frames = sorted({int(row["frame"]) for row in table(tmp_path / "out.csv")})
    assert found.stopped
    assert frames == list(range(found.frames))
    assert 1 <= found.frames <= FRAMES
    assert found.seconds == pytest.approx(found.frames / RATE)
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_the_copy_has_every_frame_and_shows_the_faces(clip: Path, predictor: Predictor, tmp_path: Path) -> None:
    with Video(clip) as video:
        record(video, predictor, Outputs(annotate=tmp_path / "out.mp4"), every=3, tracker=Tracker())
    copies, originals = frames_of(tmp_path / "out.mp4"), frames_of(clip)
    assert len(copies) == len(originals) == FRAMES
    assert copies[0].shape == (48, 64, 3)  # MPEG-4 has no odd sides, and nothing is cut off
    for number, (copy, original) in enumerate(zip(copies, originals, strict=True)):
        rim = np.abs(copy[5, 6:22].astype(int) - original[5, 6:22]).mean()
        looked = number - number % 3
        assert (rim > 40) == (looked not in DARK), number


def test_a_copy_ends_before_the_disk_is_full_and_plays(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    path = write_clip(tmp_path / "longer.avi", 110, dark=range(110))

    def on_frame(result: FrameResult) -> None:
        monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))

    with Video(path) as video, pytest.raises(DataError, match="the disk is full after 100 frames"):
        record(video, predictor, Outputs(annotate=tmp_path / "out.mp4"), 50, on_frame=on_frame)
    assert len(frames_of(tmp_path / "out.mp4")) == 100


@pytest.mark.parametrize(
    ("outputs", "what"),
    [
        (Outputs(csv=Path("clip.avi")), "replace the input"),
        (Outputs(csv=Path("a.csv"), parquet=Path("./a.csv")), "two outputs"),
        (Outputs(annotate=Path("a.avi")), "as MP4"),
        (Outputs(plot=Path("a.jpeg")), "as PNG or SVG"),
    ],
)
def test_files_that_cannot_be_are_refused_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, outputs: Outputs, what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clip.avi").touch()
    with pytest.raises(DataError, match=what):
        outputs.check("clip.avi")


def test_memory_does_not_grow_with_the_video(predictor: Predictor, tmp_path: Path) -> None:
    """Frames of 92 MB in all, with both tables and a copy: resident memory after the first quarter."""
    status = Path("/proc/self/statm")
    if not status.is_file():
        pytest.skip("only Linux says how much memory a process has")
    used: list[int] = []

    def on_frame(result: FrameResult) -> None:
        if result.number % 10 == 0:
            used.append(int(status.read_text().split()[1]) * 4096)

    path = write_clip(tmp_path / "long.avi", 400, (320, 240), dark=range(60, 400))
    with Video(path) as video:
        outputs = Outputs(tmp_path / "out.csv", tmp_path / "out.parquet", tmp_path / "out.mp4")
        found = record(video, predictor, outputs, 20, Tracker(), on_frame=on_frame)
    assert found.frames == 400
    assert max(used[20:]) - max(used[:10]) < 16_000_000


def face(happy: float) -> Face:
    return Face((0, 0, 9, 9), dict.fromkeys(LABELS, 0.0) | {"Happy": happy, "Neutral": 1 - happy})


def test_a_timeline_of_hours_is_no_larger_and_forgets_nothing_of_a_track() -> None:
    timeline, rng = Timeline(LABELS, 0.1), np.random.default_rng(0)
    moments = np.sort(rng.uniform(0, 10_000, 4000))
    shares = rng.uniform(0, 1, 4000)
    for number, (moment, share) in enumerate(zip(moments, shares, strict=True)):
        timeline.add(FrameResult(number, float(moment), True, (TrackedFace(1, face(float(share))),)))
        timeline.add(FrameResult(number, float(moment), False, (TrackedFace(1, face(0.0)),)))  # not detected
    (track,) = timeline.longest()
    assert (track.first, track.last, track.detections) == (moments[0], moments[-1], 4000)
    assert track.mean()[LABELS.index("Happy")] == pytest.approx(shares.mean())
    counts, edges = np.histogram(moments, BINS, (0, BINS * timeline.width))
    assert edges[-1] / 2 < 10_000 <= edges[-1]
    assert track.counts.tolist() == counts.tolist()
    sums = np.histogram(moments, edges, weights=shares)[0]
    assert track.sums[:, LABELS.index("Happy")] == pytest.approx(sums)


def test_of_many_tracks_those_seen_most_are_remembered() -> None:
    timeline = Timeline(LABELS, 0.1)
    for number in range(1000):  # track 1 is seen all the time, a new one comes with every frame
        faces = (TrackedFace(1, face(0.5)), TrackedFace(number + 2, face(0.5)))
        timeline.add(FrameResult(number, number / 25, True, faces))
        assert len(timeline.longest()) <= TRACKS
    kept = timeline.longest(1)
    assert (timeline.count, kept[0].number, kept[0].detections) == (1001, 1, 1000)
    crowd = tuple(TrackedFace(5000 + place, face(0.5)) for place in range(300))
    timeline.add(FrameResult(1000, 40.0, True, crowd))
    assert len(timeline.longest(1000)) == TRACKS


def test_the_picture_shows_where_a_track_was_and_was_not() -> None:
    timeline = Timeline(LABELS, 1.0)
    for second in (*range(0, 20), *range(60, 80)):
        timeline.add(FrameResult(second, float(second), True, (TrackedFace(1, face(0.25)),)))
    figure: Any = draw_timeline(timeline, "clip.mp4")
    axes = figure.axes[0]
    happy = [part for part in axes.collections if part.get_label() == "Happy"]
    spans = [part.get_paths()[0].get_extents() for part in happy]
    assert [(span.x0, span.x1) for span in spans] == [(0, 20), (60, 80)]
    assert [(span.y0, span.y1) for span in spans] == [(0, 0.25)] * 2
    assert "track 1" in axes.get_ylabel()


@pytest.mark.parametrize(
    ("seconds", "tenths", "text"),
    [
        (0, False, "0:00"),
        (7.56, True, "0:07.5"),
        (59.999, False, "0:59"),
        (750, False, "12:30"),
        (3723, True, "1:02:03.0"),
    ],
)
def test_times_as_people_read_them(seconds: float, tenths: bool, text: str) -> None:
    assert clock(seconds, tenths) == text
