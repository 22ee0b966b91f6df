"""``mien score``."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.console import console, error_line, print_json, progress_bar, quiet_libraries, stderr
from mien.cli.evaluate import MIN_FACE, WHICH
from mien.cli.signals import stop_on_signals

if TYPE_CHECKING:
    from threading import Event

    from mien.batch.job import Options, Summary

INPUT = "A folder of pictures or of parquet files, a parquet file, or a list of names (.txt, .csv, .parquet)."
OUT = "A folder for parquet parts, or a file that ends in .parquet."


class EngineName(StrEnum):
    """The engines of ``--engine``, named here so that --help loads nothing heavy."""

    AUTO = "auto"
    RAY = "ray"
    LOCAL = "local"


def score(
    source: Annotated[str, typer.Argument(metavar="INPUT", help=INPUT)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help=OUT)],
    model: Annotated[Path, typer.Option("--model", metavar="MODEL", help=WHICH)] = Path("best"),
    detector: Annotated[
        str, typer.Option("--detector", help="none: every picture is a face crop; auto, centerface or yunet.")
    ] = "none",
    batch: Annotated[int, typer.Option("--batch", min=1, help="Pictures that go through the networks together.")] = 64,
    part: Annotated[
        int, typer.Option("--part", min=0, help="Rows that are written together; 0: 2,048, with a detector 256.")
    ] = 0,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes; 0: one for each processor.")] = 0,
    engine: Annotated[
        EngineName, typer.Option("--engine", help="Ray, processes of this machine, or Ray where it is installed.")
    ] = EngineName.AUTO,
    address: Annotated[
        str | None, typer.Option("--address", metavar="A", help="A Ray cluster, such as 10.0.0.1:6379, or auto.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Score parts that hold errors once more.")] = False,
    min_face: Annotated[int | None, typer.Option("--min-face", metavar="PIXELS", min=1, help=MIN_FACE)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a summary as one JSON document.")] = False,
) -> None:
    """Score a collection of any size into parquet: a row a picture, exactly once, errors in a column.

    The same command goes on where an earlier one was killed. Ctrl-C and SIGTERM end it, with exit code 130 or 143.
    """
    quiet_libraries()  # before they are imported
    from mien.batch.job import Options
    from mien.data.walk import describe_unread

    options = Options(model, detector, batch, part, workers, engine.value, address, again, min_face)
    with stop_on_signals() as stop:
        found = _run(source, out, options, stop.event)
    print_json(found.to_dict()) if as_json else _print(found)
    if line := describe_unread(Counter(found.unread)):
        stderr.print(line, style="yellow", markup=False)
    if found.errors:
        stderr.print(f"note: {found.errors:,} of {found.rows:,} rows have an error; the column error says which")
    if found.stopped:
        error_line(f"interrupted with {found.rows:,} rows done; the same command goes on from there")
        raise typer.Exit(stop.exit_code)


def _run(source: str, out: Path, options: Options, stop: Event) -> Summary:
    from mien.batch.job import score as run

    with progress_bar() as progress:
        bar = progress.add_task("", total=None)
        return run(source, out, options, lambda rows: progress.advance(bar, rows), stop)


def _print(found: Summary) -> None:
    told = found.to_dict()
    before = f", {found.kept:,} of them before" if found.kept else ""
    rate = "" if found.engine == "none" else f"; {told['rows_a_second']:,.0f} rows/s ({found.engine})"
    console.print(f"{found.out}: {found.rows:,} rows by {found.model}{before}{rate}", markup=False)
