"""``mien data crop``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mien.cli.console import console, print_json, print_table, quiet_libraries, stderr
from mien.cli.data import loading_bar
from mien.cli.options import AsJson, Detector, MinFace, Threads

if TYPE_CHECKING:
    from mien.inference.photo_crops import PhotoCrops

_COLUMNS = {
    "photos": "photos", "with_face": "with a face", "crops": "faces written", "without_face": "without a face",
    "unreadable": "unreadable",
}  # fmt: skip


def crop(
    photos: Annotated[
        Path, typer.Argument(metavar="PHOTOS", help="Folders of photos: <class>/* or <split>/<class>/*.")
    ],
    out: Annotated[
        Path,
        typer.Argument(metavar="OUT", help="A new folder; OUT-photos.csv and OUT-grid.png are written beside it."),
    ],
    all_faces: Annotated[bool, typer.Option("--all", help="Crop every face of a photo, not only the largest.")] = False,
    detector: Detector = "fast",
    min_face: MinFace = None,
    threads: Threads = 0,
    as_json: AsJson = False,
) -> None:
    """Make a data set from photos: crop the faces as predict does, into the same folders, 48x48 gray.

    A table lists what was found in every photo, or why there is no crop; an image grid shows the faces.
    """
    quiet_libraries()  # before they are imported
    from mien.data.walk import describe_unread
    from mien.inference import Predictor
    from mien.inference.photo_crops import crop_photos

    predictor = Predictor(threads=threads, detector=detector, min_face=min_face)
    with loading_bar() as progress:
        done = crop_photos(photos, out, predictor, all_faces, progress)
    if line := describe_unread(done.unread):
        stderr.print(line, style="yellow", markup=False)
    if as_json:
        print_json(done.to_dict())
    else:
        _print_counts(done)


def _print_counts(done: PhotoCrops) -> None:
    figures = done.to_dict()
    folders = [*figures["folders"].items(), ("all", figures)]
    rows = [[name, *(f"{counts[key]:,}" for key in _COLUMNS)] for name, counts in folders]
    print_table(f"{figures['photos']:,} photos", ["folder", *_COLUMNS.values()], rows)
    folder, table, grid = done.files
    console.print(f"wrote {figures['crops']:,} faces to {folder}; every photo: {table}; look at {grid}", markup=False)
