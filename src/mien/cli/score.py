"""``mien score``."""

from __future__ import annotations

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.console import console, error_line, print_json, progress_bar, quiet_libraries, stderr
from mien.cli.options import AsJson, BatchSize, Detector, MinFace, Model, OutputName, Prior
from mien.cli.signals import stop_on_signals
from mien.emotions import Output

if TYPE_CHECKING:
    from threading import Event

    from mien.batch.job import Options, Summary

INPUT = "A folder of images or of parquet files, a parquet file, or a list of paths (.txt, .csv, .parquet)."
OUT = "A folder for parquet files, or one file that ends in .parquet."


class EngineName(StrEnum):
    """The engines of ``--engine``, listed here so that --help loads nothing heavy."""

    AUTO = "auto"
    RAY = "ray"
    LOCAL = "local"


def score(
    source: Annotated[str, typer.Argument(metavar="INPUT", help=INPUT)],
    out: Annotated[Path, typer.Argument(metavar="OUT", help=OUT)],
    model: Model = Path("best"),
    detector: Detector = "none",
    batch: BatchSize = 64,
    chunk_size: Annotated[
        int, typer.Option("--chunk-size", min=0, help="Rows per written file; 0 for 2,048, with a detector 256.")
    ] = 0,
    workers: Annotated[int, typer.Option("--workers", min=0, help="Processes; 0 for one per processor.")] = 0,
    engine: Annotated[
        EngineName, typer.Option("--engine", help="The engine: ray, local processes, or auto (Ray if installed).")
    ] = EngineName.AUTO,
    address: Annotated[
        str | None, typer.Option("--address", metavar="ADDRESS", help="A Ray cluster, such as 10.0.0.1:6379, or auto.")
    ] = None,
    retry_errors: Annotated[
        bool, typer.Option("--retry-errors", help="Process the chunks with errors once more.")
    ] = False,
    min_face: MinFace = None,
    output: OutputName = Output.DEFAULT,
    prior: Prior = None,
    as_json: AsJson = False,
) -> None:
    """Predict a collection of any size into parquet: one row per image, exactly once, errors in a column.

    Run the same command again to continue after an interruption. Ctrl-C and SIGTERM end it, with exit code 130 or 143.
    """
    quiet_libraries()  # before they are imported
    from mien.batch.job import Options
    from mien.data.walk import describe_unread

    options = Options(
        model, detector, batch, chunk_size, workers, engine.value, address, retry_errors, min_face, output, prior
    )
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
    before = f", {found.existing:,} of them before" if found.existing else ""
    rate = "" if found.engine == "none" else f"; {found.to_dict()['rows_a_second']:,.0f} rows/s ({found.engine})"
    console.print(f"{found.out}: {found.rows:,} rows by {found.model}{before}{rate}", markup=False)
