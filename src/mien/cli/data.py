"""``mien data ...``: inspect, convert, draw and fetch data sets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.cli.console import console, print_json, print_table, stderr
from mien.cli.data_check_output import print_check, print_ferplus
from mien.cli.options import AsJson, DataAndOut, DataArgument, LabelOrderName, SkipBad, examples_text
from mien.emotions import LabelOrder
from mien.errors import DataError

if TYPE_CHECKING:
    from mien.data.builder import Progress
    from mien.data.faces import Faces

app = typer.Typer(help="Inspect, check, convert, split and download data sets.", no_args_is_help=True)


class LayoutName(StrEnum):
    """The layouts of ``--to``, listed here so that --help loads nothing heavy."""

    CSV = "csv"
    OLD_CSV = "old-csv"
    FOLDER = "folder"
    PARQUET = "parquet"
    SHARDS = "shards"


DROPS = "duplicates, leaked, leaked-training, conflicting, constant, near-blank, near, suspect or not-a-face"
"""The kinds of ``--drop``, listed here so that --help loads nothing heavy; :class:`mien.data.quality.clean.Drop`."""


@contextmanager
def loading_bar() -> Iterator[Progress]:
    """A bar on stderr with rate and time left, for :func:`mien.data.load_faces`; only on a terminal, and transient."""
    from rich.progress import BarColumn, TaskProgressColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("reading"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rate]}"))
    with Bar(*columns, TimeRemainingColumn(), console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task("reading", total=None, rate="")

        def show(done: int, total: int, unit: str) -> None:
            speed = bar.tasks[0].speed or 0.0
            rate = f"{speed / 1e6:,.0f} MB/s" if unit == "bytes" else f"{speed:,.0f} {unit}/s"
            bar.update(task, completed=done, total=total, rate=rate)

        yield show


def load(
    source: Path | None, skip_bad: bool = False, make_splits: bool = True, label_order: LabelOrder | None = None
) -> Faces:
    """Load a data set with a progress bar; report on stderr which rows were left out and which splits were made."""
    from mien.data import load_faces

    with loading_bar() as progress:
        faces = load_faces(
            source, skip_bad=skip_bad, make_splits=make_splits, label_order=label_order, progress=progress
        )
    _say_skipped(faces.skipped)
    for note in faces.notes:
        stderr.print(f"{faces.name}: {note}", style="yellow", markup=False)
    return faces


def _say_skipped(lines: tuple[str, ...]) -> None:
    if lines:
        stderr.print(f"left out {len(lines):,} bad rows", style="yellow", markup=False)
        for line in lines[:10]:
            stderr.print(f"  {line}", markup=False)
        if len(lines) > 10:
            stderr.print(f"  and {len(lines) - 10:,} more (mien data info --skip-bad --json lists all)")


@app.command(epilog=examples_text(["mien data info faces.csv"]))
def info(
    source: DataArgument = None,
    as_json: AsJson = False,
    skip_bad: SkipBad = False,
    label_order: LabelOrderName = None,
) -> None:
    """Describe a data set: splits, labels, pixel statistics, and test faces that leak from Training."""
    from mien.data.describe import describe

    figures = describe(load(source, skip_bad, label_order=label_order))
    if as_json:
        print_json(figures)
    else:
        _print_figures(figures)


def _print_figures(figures: dict[str, Any]) -> None:
    splits = figures["splits"]
    labels = next(iter(figures["labels"].values()))
    rows = [[label, *(f"{figures['labels'][s][label]:,}" for s in splits)] for label in labels]
    rows.append(["all", *(f"{count:,}" for count in splits.values())])
    if figures["leaked"]:
        rows.append(
            ["also in Training", *(f"{figures['leaked'][s]:,}" if s in figures["leaked"] else "" for s in splits)]
        )
    print_table(f"{figures['name']}: {figures['rows']:,} faces", ["label", *splits], rows)
    images = figures["images"]
    console.print(
        f"images: {images['size'][0]}x{images['size'][1]} gray, mean {images['mean']:.2f}, std {images['std']:.2f}, "
        f"from {images['min']} to {images['max']}, {images['constant']:,} constant"
    )
    console.print(f"without a label: {figures['unlabelled']:,}; FER+ votes: {'yes' if figures['votes'] else 'no'}")
    console.print(f"fingerprint: {figures['fingerprint']}")


@app.command(epilog=examples_text(["mien data convert faces.csv faces.parquet --to parquet"]))
def convert(
    source: DataAndOut,
    to: Annotated[LayoutName, typer.Option("--to", help="The format to write.")],
    skip_bad: SkipBad = False,
    rows: Annotated[
        int | None, typer.Option("--rows", min=1, help="Faces per shard, with --to shards; 16,384 by default.")
    ] = None,
    block: Annotated[
        int | None,
        typer.Option("--block", min=1, help="Faces per block, the unit of reading, with --to shards; 256 by default."),
    ] = None,
    label_order: LabelOrderName = None,
) -> None:
    """Convert a data set to another format. Shards also take one that does not fit in memory."""
    data, out = _data_and_out(source)
    if to == LayoutName.SHARDS:
        _convert_to_shards(data, out, skip_bad, label_order, rows, block)
        return
    if rows or block:
        raise DataError("--rows and --block are for shards", mend="Add --to shards, or leave them out.")
    from mien.data.writers import convert_faces

    faces = load(data, skip_bad, label_order=label_order)
    path = convert_faces(faces, out, to)
    console.print(f"wrote {len(faces):,} faces to {path}", markup=False)


def _convert_to_shards(
    data: Path | None, out: Path, skip_bad: bool, label_order: LabelOrder | None, rows: int | None, block: int | None
) -> None:
    from mien.data.shards.writer import BLOCK, ROWS, write_shards

    notes: list[str] = []
    with loading_bar() as progress:
        shards, skipped = write_shards(
            data, out, rows=rows or ROWS, block=block or BLOCK, skip_bad=skip_bad, label_order=label_order,
            progress=progress, on_note=notes.append,
        )  # fmt: skip
    for note in notes:
        stderr.print(f"{out.name}: {note}", style="yellow", markup=False)
    _say_skipped(skipped)
    files = sum(len(part.files) for part in shards.index.splits.values())
    console.print(f"wrote {len(shards):,} faces to {files:,} shards in {out}", markup=False)


@app.command(epilog=examples_text(["mien data split photos-by-class split.parquet"]))
def split(
    source: DataAndOut,
    validation: Annotated[
        float, typer.Option("--validation", help="The fraction of each class for PublicTest.")
    ] = 0.15,
    test: Annotated[float, typer.Option("--test", help="The fraction of each class for PrivateTest.")] = 0.15,
    seed: Annotated[int, typer.Option("--seed", help="The random seed of the splits.", min=0)] = 0,
    reassign: Annotated[
        bool, typer.Option("--reassign", help="Split all faces anew, whatever splits they have.")
    ] = False,
    skip_bad: SkipBad = False,
    label_order: LabelOrderName = None,
) -> None:
    """Make missing splits from Training, duplicates on one side, and write them: .csv, .parquet or a folder."""
    from mien.data.quality.clean import layout_of
    from mien.data.splits import split_faces
    from mien.data.writers import convert_faces

    data, out = _data_and_out(source)
    layout = layout_of(out)
    faces = split_faces(
        load(data, skip_bad, make_splits=False, label_order=label_order), validation, test, seed, reassign
    )
    path = convert_faces(faces, out, layout)
    console.print(faces.notes[-1], markup=False)
    sizes = ", ".join(f"{name} {count:,}" for name, count in faces.splits().items())
    console.print(f"wrote {len(faces):,} faces to {path}: {sizes}", markup=False)


def keep_inputs(
    outputs: Iterable[Path | None],
    data: Path | None = None,
    models: Iterable[str | Path] = (),
    files: Iterable[str | Path | None] = (),
) -> None:
    """Refuse outputs that would replace a data set, a model or another file that the command reads."""
    from mien._utils.files import protect
    from mien.data.load import source_files
    from mien.models.load import find_bundle

    protect(outputs, chain(source_files(data), map(find_bundle, models), files))


def _data_and_out(paths: list[Path]) -> tuple[Path | None, Path]:
    if len(paths) > 2:
        raise DataError(f"at most DATA and OUT are expected, not {len(paths)} paths")
    data, out = (paths[0] if len(paths) == 2 else None), paths[-1]
    keep_inputs([out], data)
    return data, out


@app.command(epilog=examples_text(["mien data check faces.csv --out findings"]))
def check(
    source: DataArgument = None,
    model: Annotated[
        Path | None,
        typer.Option("--model", metavar="MODEL", help="Also find labels that this model contradicts with confidence."),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Also write JSON, a CSV with one row per finding, and image grids."),
    ] = None,
    clean: Annotated[
        Path | None, typer.Option("--clean", metavar="OUT", help="Write the data set without the kinds of --drop.")
    ] = None,
    drop: Annotated[
        list[str] | None, typer.Option("--drop", metavar="KIND", help=f"What --clean leaves out; repeatable: {DROPS}.")
    ] = None,
    as_json: AsJson = False,
    label_order: LabelOrderName = None,
) -> None:
    """Check a data set: duplicates, leaks, conflicting and suspect labels, blank images, wrong sizes, bad rows."""
    from mien.evaluation.data_check import check_outputs, run_check

    keep_inputs(check_outputs(out, clean), source, [model] if model else [])
    figures = run_check(
        load(source, skip_bad=True, make_splits=False, label_order=label_order),
        model=model,
        out=out,
        clean=clean,
        drop=drop or [],
    )[1]
    if as_json:
        print_json(figures)
        return
    print_check(figures)
    for path in figures.get("files", []):
        stderr.print(f"wrote {path}", markup=False)
    if clean is not None:
        left = figures["clean"]
        console.print(f"wrote {left['rows']:,} faces to {left['path']}, without {left['dropped']:,}: {left['log']}")


@app.command(epilog=examples_text(["mien data ferplus votes.parquet --targets targets.csv"]))
def ferplus(
    source: DataArgument = None,
    votes: Annotated[
        Path | None,
        typer.Option(
            "--votes", metavar="CSV", help="Microsoft's fer2013new.csv; by default the votes in the data set."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="OUT", help="Write the data set with its votes (.parquet).")
    ] = None,
    targets: Annotated[
        Path | None,
        typer.Option(
            "--targets", metavar="CSV", help="Write the majority label and the vote distribution of each face."
        ),
    ] = None,
    model: Annotated[
        Path | None, typer.Option("--model", metavar="MODEL", help="Evaluate a model on FER+'s eight classes.")
    ] = None,
    as_json: AsJson = False,
    label_order: LabelOrderName = None,
) -> None:
    """Join Microsoft's FER+ votes to FER2013, count them by the official rules, and evaluate a model on them."""
    from mien.evaluation.ferplus import run_ferplus

    keep_inputs([out, targets], source, [model] if model else [], [votes])
    figures = run_ferplus(load(source, label_order=label_order), votes=votes, out=out, targets=targets, model=model)
    if as_json:
        print_json(figures)
    else:
        print_ferplus(figures)


@app.command(epilog=examples_text(["mien data toy drawn.csv --n 100"]))
def toy(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A .csv file, or a folder for icml_face_data.csv.")],
    n: Annotated[int, typer.Option("--n", min=1, help="How many faces to draw.")] = 5000,
    seed: Annotated[int, typer.Option("--seed", help="The random seed; equal seeds draw equal faces.")] = 0,
) -> None:
    """Make a small synthetic data set of drawn faces, to try the commands without FER2013."""
    from mien.data.synthetic import draw_faces
    from mien.data.writers import convert_faces

    path = out if out.suffix.lower() == ".csv" and not out.is_dir() else out / "icml_face_data.csv"
    faces = draw_faces(n, seed)
    convert_faces(faces, path, LayoutName.CSV)
    console.print(f"wrote {len(faces):,} drawn faces to {path}", markup=False)


@app.command(epilog=examples_text(["mien data fetch fer2013"]))
def fetch(out: Annotated[Path, typer.Argument(metavar="OUT", help="A new or empty folder.")]) -> None:
    """Download FER2013 from Kaggle. This needs an account there that has accepted the competition's rules."""
    from mien.data.kaggle import fetch_fer2013

    console.print(f"FER2013 is in {fetch_fer2013(out)}", markup=False)


@app.command(epilog=examples_text(["mien data examples faces.csv examples.png"]))
def examples(
    source: DataAndOut,
    export: Annotated[
        int | None, typer.Option("--export", help="Write one PNG per class instead, with 1 or 3 channels.")
    ] = None,
    skip_bad: SkipBad = False,
    label_order: LabelOrderName = None,
) -> None:
    """Plot one example face per class."""
    data, out = _data_and_out(source)
    faces = load(data, skip_bad, label_order=label_order)
    if export is None:
        paths = [_save_figure(faces, out)]
    else:
        from mien.data.writers import export_examples

        paths = export_examples(faces, out, export)
    for path in paths:
        console.print(str(path), markup=False)


def _save_figure(faces: Faces, out: Path) -> Path:
    from mien._utils.files import atomic
    from mien.errors import require

    require("matplotlib", "train")
    from mien.evaluation import plots

    path = out if out.suffix.lower() == ".png" else out.with_name(f"{out.name}.png")
    with atomic(path) as temporary:
        plots.examples(faces).savefig(temporary, dpi=150)
    return path
