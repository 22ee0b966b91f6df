"""``mien predict``."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.console import console, error_line, print_table, progress_bar, quiet_libraries, stderr
from mien.cli.evaluate import print_probabilities
from mien.cli.options import BatchSize, Detector, MinConfidence, MinFace, Model, OutputName, Parquet, Prior, Threads
from mien.emotions import Output
from mien.errors import printable

if TYPE_CHECKING:
    from mien.data.decoding import Source
    from mien.inference import Face, Prediction, Predictor
    from mien.inference.writers import Writer

SHOWN = 40
"""How many faces the printed table lists at most."""


class Tally:
    """Counts, the first faces and the paths that failed, for the summary."""

    def __init__(self) -> None:
        self.images = self.faces = self.without = 0
        self.failed: list[str] = []
        self.notes: list[str] = []
        self.shown: list[tuple[str, Face]] = []
        self.emotions: Counter[str] = Counter()

    def add(self, one: Prediction) -> None:
        """Count one image."""
        self.images += 1
        self.faces += len(one.faces)
        self.without += one.error is None and not one.faces
        self.emotions.update(face.emotion for face in one.faces)
        self.shown += [(one.path, face) for face in one.faces[: SHOWN - len(self.shown)]]
        if one.error is not None:
            self.failed.append(one.path)
        if one.note is not None:
            self.notes.append(f"{one.path}: {one.note}")


def predict(
    images: Annotated[list[str], typer.Argument(metavar="PATH...", help="Images, folders of images, or patterns.")],
    model: Model = Path("best"),
    detector: Detector = "fast",
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document per image, one per line.")] = False,
    csv: Annotated[
        Path | None, typer.Option("--csv", metavar="OUT", help="Write a CSV file with one row per face.")
    ] = None,
    parquet: Parquet = None,
    annotate: Annotated[
        Path | None, typer.Option("--annotate", metavar="DIR", help="Write copies of the images with boxes and labels.")
    ] = None,
    batch: BatchSize = 64,
    min_confidence: MinConfidence = 0.0,
    threads: Threads = 0,
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", min=1, help="Refuse images with more pixels.")
    ] = 100_000_000,
    min_face: MinFace = None,
    output: OutputName = Output.DEFAULT,
    prior: Prior = None,
    allow_urls: Annotated[
        bool, typer.Option("--allow-urls", help="Also fetch images from http and https addresses.")
    ] = False,
) -> None:
    """Detect the faces in images and predict their expressions.

    Images that cannot be read are reported and do not stop the others; the exit code is then 1.
    """
    quiet_libraries()  # before they are imported
    from mien._utils.files import part_of, protect
    from mien.errors import DataError
    from mien.inference import Predictor
    from mien.inference.writers import csv_writer, parquet_writer
    from mien.models.load import find_bundle

    paths = _find(images, allow_urls)
    copies = _copy_names(paths, annotate) if annotate else []
    tables = [path for path in (csv, parquet) if path is not None]
    protect([*tables, *map(part_of, tables), *copies], [*paths, find_bundle(model), prior])
    predictor = Predictor(model, threads, detector, min_confidence, batch, max_pixels, min_face, output, prior)
    tally = Tally()
    writers: list[Writer] = [tally.add]
    try:
        with ExitStack() as stack:
            writers += [stack.enter_context(csv_writer(csv, predictor.labels))] if csv else []
            writers += [stack.enter_context(parquet_writer(parquet, predictor.labels))] if parquet else []
            writers += [_print_line] if as_json else []
            writers += [_annotator(copies, max_pixels)] if annotate else []
            stopped = _run(predictor, paths, writers)
    except BrokenPipeError:
        raise
    except OSError as error:  # an image that cannot be read raises ImageError instead
        raise DataError(f"it cannot be written ({error.strerror or error})", error.filename) from error
    if not as_json:
        _print_tally(tally)
    _print_problems(tally)
    if stopped:
        error_line(f"interrupted after {tally.images:,} of {len(paths):,} images; these are saved")
        raise typer.Exit(130)
    if tally.failed:
        raise typer.Exit(1)


def _find(images: list[str], allow_urls: bool) -> list[str]:
    """The images of the arguments; what is not read of folders is reported on stderr."""
    from mien.data.walk import describe_unread
    from mien.inference.inputs import find_images

    unread: Counter[str] = Counter()
    paths = find_images(images, allow_urls, unread)
    if line := describe_unread(unread):
        stderr.print(line, style="yellow", markup=False)
    return paths


def _run(predictor: Predictor, paths: list[str], writers: list[Writer]) -> bool:
    """Pass every prediction to the writers; True where Ctrl-C ended it, after which finished rows are saved."""
    with progress_bar() as progress:
        bar = progress.add_task("", total=len(paths))
        try:
            for one in _predictions(predictor, paths):
                for write in writers:
                    write(one)
                if one.error is not None:
                    error_line(f"{one.path}: {one.error}")
                progress.advance(bar)
        except KeyboardInterrupt:
            return True
    return False


def _predictions(predictor: Predictor, paths: list[str]) -> Iterator[Prediction]:
    """Predictions under the names that the user gave; URLs are fetched one by one as their turn comes."""
    from dataclasses import replace

    for path, one in zip(paths, predictor.stream(map(_source, paths)), strict=True):
        yield replace(one, path=path)


def _source(path: str) -> Source:
    from mien.inference.inputs import fetch_image, is_url

    return partial(fetch_image, path) if is_url(path) else path


def _print_line(one: Prediction) -> None:
    sys.stdout.write(json.dumps(one.to_dict()) + "\n")


def _copy_names(paths: list[str], folder: Path) -> list[Path]:
    """The file of each image's annotated copy; a name that another image's copy has gets the next free number."""
    from mien.inference.inputs import is_url

    taken: dict[Path, None] = {}
    for one in paths:
        name = Path(one.partition("?")[0] if is_url(one) else one)
        suffix = ".png" if name.suffix.lower() in (".png", ".gif", ".bmp") else ".jpg"
        stem = name.stem or "image"
        names = chain([stem], (f"{stem}-{number}" for number in count(2)))
        taken[next(path for name in names if (path := folder / f"{name}{suffix}") not in taken)] = None
    return list(taken)


def _annotator(copies: list[Path], max_pixels: int) -> Writer:
    """Writes the annotated copy of each image, which come in the order of their copies."""
    from mien.errors import ImageError
    from mien.inference.writers import annotate

    names = iter(copies)

    def write(one: Prediction) -> None:
        out = next(names)
        if one.error is not None:
            return
        try:
            annotate(_source(one.path), one, out, max_pixels)
        except ImageError as error:  # it was there a moment ago
            error_line(error)

    return write


def _print_problems(tally: Tally) -> None:
    """The first note, and how many images could not be read, on stderr."""
    if tally.notes:
        more = f" (the same in {len(tally.notes) - 1:,} more)" if len(tally.notes) > 1 else ""
        stderr.print(f"note: {tally.notes[0]}{more}", markup=False)
    if tally.failed:
        error_line(f"{len(tally.failed):,} of {tally.images:,} images could not be read")


def _print_tally(tally: Tally) -> None:
    """One face with all its percentages; several as a table with the two most probable emotions of each, and sums."""
    if tally.images == tally.faces == 1:
        path, face = tally.shown[0]
        console.print(f"{printable(path)}: {face.emotion}", markup=False)
        print_probabilities(face)
        return
    if tally.shown:
        rows = []
        for path, face in tally.shown:
            first, second, *_ = sorted(face.probabilities.items(), key=lambda item: -item[1])
            place = " ".join(map(str, face.box))
            rows.append([path, face.emotion, place, f"{first[1]:.1%}", f"{second[0]} {second[1]:.1%}"])
        some = f"{tally.faces:,} faces" if tally.faces <= SHOWN else f"the first {SHOWN} of {tally.faces:,} faces"
        print_table(some, ["image", "emotion", "box", "probability", "next"], rows, text=3)
    if tally.faces > 1:
        counts = [[name, f"{count:,}", f"{count / tally.faces:.1%}"] for name, count in tally.emotions.most_common()]
        print_table(f"{tally.images:,} images", ["emotion", "faces", "share"], counts)
    if tally.without:
        console.print(f"without a face: {tally.without:,} of {tally.images:,} images")
