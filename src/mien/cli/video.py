"""``mien video``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.console import console, error_line, print_json, print_table, progress_bar, quiet_libraries, stderr
from mien.cli.options import AsJson, Detector, MinConfidence, MinFace, Model, OutputName, Parquet, Prior, Threads
from mien.cli.signals import stop_on_signals
from mien.emotions import Output

if TYPE_CHECKING:
    from threading import Event

    from mien.inference import Predictor
    from mien.inference.recording import Outputs, Recording
    from mien.inference.video import FrameResult, Video

SHOWN = 40
"""How many tracks the printed table lists at most."""


def video(
    source: Annotated[
        str, typer.Argument(metavar="FILE|CAMERA|URL", help="A video file, a camera number such as 0, or an address.")
    ],
    model: Model = Path("best"),
    detector: Detector = "fast",
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="OUT", help="Write a CSV file with one row per face and frame.")
    ] = None,
    parquet: Parquet = None,
    annotate: Annotated[
        Path | None,
        typer.Option(
            "--annotate",
            metavar="OUT.mp4",
            help="Write a copy (MP4, WebM) with boxes and labels; with sound if ffmpeg is on the PATH.",
        ),
    ] = None,
    plot: Annotated[
        Path | None, typer.Option("--plot", metavar="OUT.png", help="Plot the emotions of each track over time.")
    ] = None,
    every: Annotated[int, typer.Option("--every", min=1, help="Process only every N-th frame.")] = 1,
    track: Annotated[
        bool, typer.Option("--track/--no-track", help="Track faces across frames and smooth their probabilities.")
    ] = True,
    search_interval: Annotated[
        float,
        typer.Option(
            "--search-interval",
            metavar="SECONDS",
            min=0,
            help="Find new faces within this time: between searches of the whole frame only the surroundings of known "
            "faces are searched; 0 searches every processed frame in whole.",
        ),
    ] = 0.3,
    threads: Threads = 0,
    min_confidence: MinConfidence = 0.0,
    allow_urls: Annotated[bool, typer.Option("--allow-urls", help="Open http, https and rtsp addresses.")] = False,
    min_face: MinFace = None,
    output: OutputName = Output.DEFAULT,
    prior: Prior = None,
    as_json: AsJson = False,
) -> None:
    """Detect and track the faces of a video or camera and predict their expressions, frame by frame.

    Ctrl-C and SIGTERM end it early; the files then hold all that came before, and the exit code is 130 or 143.
    """
    quiet_libraries()  # before they are imported
    from mien.inference import Predictor
    from mien.inference.detection import find_detector
    from mien.inference.recording import Outputs
    from mien.inference.video import Video

    outputs = Outputs(csv, parquet, annotate, plot)
    outputs.check(source)
    with Video(source, allow_urls) as opened:
        # Faces are detected while those of earlier frames are classified.
        finder = find_detector(detector, threads or max(1, (os.cpu_count() or 1) // 2))
        predictor = Predictor(model, threads, finder, min_confidence, min_face=min_face, output=output, prior=prior)
        with stop_on_signals() as stop:
            found = _record(opened, predictor, outputs, every, track, stop.event, search_interval)
    print_json(found.to_dict()) if as_json else _print(found, annotate)
    if found.stopped:
        kept = f"; saved: {', '.join(map(str, found.written))}" if found.written else ""
        error_line(f"interrupted after {found.frames:,} frames{kept}")
        raise typer.Exit(stop.exit_code)


def _record(
    opened: Video,
    predictor: Predictor,
    outputs: Outputs,
    every: int,
    track: bool,
    stop: Event,
    interval: float,
) -> Recording:
    from mien.inference.recording import record
    from mien.inference.tracking import Tracker

    with progress_bar() as progress:
        bar = progress.add_task("", total=opened.expected)

        def advance(result: FrameResult) -> None:
            progress.update(bar, completed=result.number + 1)

        return record(opened, predictor, outputs, every, Tracker() if track else None, stop, advance, interval)


def _print(found: Recording, annotate: Path | None) -> None:
    from mien.inference.timeline import clock

    labels, rows = found.timeline.labels, []
    for track in found.timeline.longest(SHOWN):
        shares = sorted(zip(labels, track.mean(), strict=True), key=lambda pair: -pair[1])
        (first, most), *others = shares
        following = f"{others[0][0]} {others[0][1]:.1%}" if others else ""
        when = [clock(track.first, tenths=True), clock(track.last, tenths=True), f"{track.detections:,}"]
        rows.append([track.number or "all", first, *when, f"{most:.1%}", following])
    if rows:
        some = f"the {SHOWN} longest of {found.tracks:,} tracks" if found.tracks > len(rows) else "tracks"
        print_table(some, ["track", "emotion", "from", "to", "frames", "probability", "next"], rows, text=2)
    console.print(
        f"{found.video}: {found.frames:,} frames ({clock(found.seconds)}), {found.processed:,} processed, "
        f"{found.faces:,} faces; {found.frames / found.elapsed:,.1f} frames/s",
        markup=False,
    )
    for note in found.notes:
        stderr.print(f"note: {note}", markup=False)
    for path in found.written if not found.stopped else ():
        how = f" ({found.copy})" if path == annotate else ""
        stderr.print(f"wrote {path}{how}", markup=False)
