"""The outputs of a video: tables that grow with it, an annotated copy, a timeline, and a summary."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import cv2

from mien._utils.files import growing, part_of, protect
from mien.errors import DataError
from mien.inference.copying import SUFFIXES, Copy, annotated_video
from mien.inference.following import INTERVAL
from mien.inference.predictor import Predictor
from mien.inference.results import FACE_COLUMNS, face_cells
from mien.inference.timeline import Timeline, check_plot, save_timeline
from mien.inference.tracking import Tracker
from mien.inference.video import FrameResult, Video, watch
from mien.inference.writers import parquet_rows

Writer = Callable[[FrameResult], None]
_OF_FRAME = ("frame", "time", "processed", "faces")


@dataclass(frozen=True)
class Outputs:
    """The files to write; None for no such file.

    Attributes:
        csv: a row for each face of each frame, and one for a frame without faces.
        parquet: the same.
        annotate: an MP4 or WebM with the faces framed and labelled.
        plot: the timeline of the tracks, PNG or SVG.
    """

    csv: Path | None = None
    parquet: Path | None = None
    annotate: Path | None = None
    plot: Path | None = None

    def paths(self) -> list[Path]:
        """The files to write."""
        return [path for path in (self.csv, self.parquet, self.annotate, self.plot) if path is not None]

    def check(self, source: str | Path) -> None:
        """Refuse what could not be written, before the work begins.

        Args:
            source: the video that is to be read.

        Raises:
            DataError: where a file has the wrong suffix, stands twice, or is the video itself.
            MissingExtraError: where the plot needs matplotlib, and it is not installed.
        """
        grown = [part_of(path) for path in (self.csv, self.parquet, self.annotate) if path is not None]
        protect([*self.paths(), *grown], [source])
        if self.annotate is not None and self.annotate.suffix.lower() not in SUFFIXES:
            mend = "Name a file that ends in .mp4 or .webm."
            raise DataError("annotated videos are written as MP4 or WebM", self.annotate, mend)
        if self.plot is not None:
            check_plot(self.plot)


@dataclass(frozen=True)
class Recording:
    """A processed video.

    Attributes:
        video: the file, or the camera.
        width: of a frame, in pixels.
        height: of a frame, in pixels.
        rate: the video's own, frames a second.
        frames: how many frames were read.
        processed: how many of them were searched for faces.
        faces: how many faces were found in these.
        tracks: how many tracks there were; 0 where faces were not tracked.
        seconds: from the video's start to the end of the last frame read.
        elapsed: seconds that it took.
        timeline: the tracks that are remembered.
        notes: warnings, such as that the file is cut.
        stopped: whether it was stopped before the video's end.
        written: the files.
        copy: how the annotated copy is encoded, such as ``"H.264, with sound"``; None where there is none.
    """

    video: str
    width: int
    height: int
    rate: float
    frames: int
    processed: int
    faces: int
    tracks: int
    seconds: float
    elapsed: float
    timeline: Timeline
    notes: tuple[str, ...]
    stopped: bool
    written: tuple[Path, ...]
    copy: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """The summary, ready for JSON; ``longest`` lists the 128 tracks with the most detections."""
        plain = ("video", "width", "height", "rate", "frames", "processed", "faces", "tracks", "seconds", "elapsed")
        return {name: getattr(self, name) for name in plain} | {
            "frames_a_second": self.frames / self.elapsed,
            "longest": [
                {
                    "track": track.number or None,
                    "first": track.first,
                    "last": track.last,
                    "detections": track.detections,
                    "probabilities": dict(zip(self.timeline.labels, map(float, track.mean()), strict=True)),
                }
                for track in self.timeline.longest()
            ],
            "notes": list(self.notes),
            "stopped": self.stopped,
            "written": [str(path) for path in self.written],
            "copy": self.copy,
        }


class _Counts:
    """Counts of frames and faces."""

    def __init__(self) -> None:
        self.processed = self.faces = self.frames = 0
        self.seconds = 0.0

    def add(self, result: FrameResult) -> None:
        self.frames, self.seconds = result.number + 1, result.time
        if result.processed:
            self.processed += 1
            self.faces += len(result.faces)


def record(
    video: Video,
    predictor: Predictor,
    outputs: Outputs | None = None,
    every: int = 1,
    tracker: Tracker | None = None,
    stop: Event | None = None,
    on_frame: Writer | None = None,
    interval: float = INTERVAL,
) -> Recording:
    """Process a video and write the outputs, in memory that does not grow with its length.

    However it ends, the files hold what came before: whole rows, a video that plays. While it runs, the rows stand in
    a file beside the table's, such as ``out.part.csv``.

    Args:
        video: what to read; it is not closed.
        predictor: detects faces and predicts their expressions.
        outputs: the files to write.
        every: process every ``every``-th frame only; the frames between have the faces of the last processed one.
        tracker: what follows the faces; None leaves them without tracks.
        stop: once it is set, no more frames are read, and all ends as at the video's end.
        on_frame: is called with each frame after it was written; without tables and copy only with processed ones.
        interval: seconds within which a new face is found, as :func:`mien.inference.video.watch` takes it.

    Raises:
        DataError: where a file cannot be written, or as :meth:`Outputs.check`.
        MienError: whatever reading or detection raised.
    """
    outputs, stop = outputs or Outputs(), stop or Event()
    outputs.check(video.name)
    counts, started = _Counts(), time.perf_counter()
    timeline = Timeline(predictor.labels, 2 * every / video.rate)
    between = outputs.annotate is not None or (every > 1 and (outputs.csv or outputs.parquet) is not None)
    try:
        with ExitStack() as stack:
            writers = [*_writers(stack, outputs, video, predictor.labels), counts.add, timeline.add]
            writers += [on_frame] if on_frame else []
            # A generator that is left to the interpreter's end aborts it.
            results = closing(watch(video, predictor, every, tracker, between, stop, interval))
            for result in stack.enter_context(results):
                for writer in writers:
                    writer(result)
        if outputs.plot is not None:
            save_timeline(timeline, outputs.plot, Path(video.name).name)
    except OSError as error:
        raise DataError(f"it cannot be written ({error.strerror or error})", error.filename) from error
    except cv2.error as error:
        raise DataError(f"OpenCV cannot go on after frame {counts.frames} ({error.err})", video.name) from error
    copy = next((str(writer) for writer in writers if isinstance(writer, Copy)), None)
    return _recording(video, counts, timeline, outputs, stop.is_set(), time.perf_counter() - started, copy)


def _recording(
    video: Video,
    counts: _Counts,
    timeline: Timeline,
    outputs: Outputs,
    stopped: bool,
    elapsed: float,
    copy: str | None,
) -> Recording:
    return Recording(
        video=video.name,
        width=video.width,
        height=video.height,
        rate=video.rate,
        # What was read before a stop but not delivered does not count.
        frames=counts.frames if stopped else video.count,
        processed=counts.processed,
        faces=counts.faces,
        tracks=timeline.count,
        seconds=counts.seconds + 1 / video.rate if stopped and counts.frames else video.seconds,
        elapsed=elapsed,
        timeline=timeline,
        notes=tuple(video.notes),
        stopped=stopped,
        written=tuple(path for path in outputs.paths() if path.exists()),
        copy=copy,
    )


def _writers(stack: ExitStack, outputs: Outputs, video: Video, labels: Sequence[str]) -> list[Writer]:
    writers: list[Writer] = []
    if outputs.csv is not None:
        writers.append(stack.enter_context(csv_table(outputs.csv, labels)))
    if outputs.parquet is not None:
        writers.append(stack.enter_context(parquet_table(outputs.parquet, labels)))
    if outputs.annotate is not None:
        writers.append(stack.enter_context(annotated_video(outputs.annotate, video)))
    return writers


def columns(labels: Sequence[str]) -> list[str]:
    """The names of a row's cells, in order."""
    return [*_OF_FRAME, "track", *FACE_COLUMNS, *labels]


def to_rows(result: FrameResult, labels: Sequence[str]) -> list[dict[str, Any]]:
    """A frame as a table: one row per face, most confident first; without faces one row, its other cells None.

    The columns are ``frame`` (from 0), ``time`` (seconds), ``processed`` (else the faces are those of the last frame
    that was), ``faces`` (how many), ``track``, ``x``, ``y``, ``box_width``, ``box_height`` (pixels), ``detection``,
    ``emotion``, ``confidence``, and each class's probability.
    """
    cells = (result.number, round(result.time, 6), result.processed, len(result.faces))
    head = dict(zip(_OF_FRAME, cells, strict=True))
    rows = [{**head, "track": one.track, **face_cells(one.face)} for one in result.faces]
    return rows or [{**head, **dict.fromkeys(("track", *FACE_COLUMNS, *labels))}]


@contextmanager
def csv_table(path: Path, labels: Sequence[str]) -> Iterator[Writer]:
    """A CSV file with the rows of :func:`to_rows`, written frame by frame; it ends with a whole row however it ends."""
    with growing(path) as part, part.open("wb", buffering=0) as file:
        whole = 0

        def write(rows: Sequence[Any]) -> None:
            nonlocal whole
            text = io.StringIO(newline="")
            csv.writer(text).writerows(rows)
            data = memoryview(text.getvalue().encode())
            while data:
                data = data[file.write(data) :]
            whole = file.tell()

        try:
            write([columns(labels)])
            yield lambda result: write([list(row.values()) for row in to_rows(result, labels)])
        finally:
            file.truncate(whole)


@contextmanager
def parquet_table(path: Path, labels: Sequence[str]) -> Iterator[Writer]:
    """A parquet file with the rows of :func:`to_rows`; it is whole however it ends.

    Raises:
        MissingExtraError: where pyarrow is not installed.
    """
    with growing(path) as part, parquet_rows(part, columns(labels)) as add:
        yield lambda result: add(to_rows(result, labels))
