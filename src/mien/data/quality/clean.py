"""Leaving out what a check found: which faces go, why, and the data set without them."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien._utils.files import atomic
from mien.data.builder import TRAINING
from mien.data.faces import UNLABELLED, USAGES, Faces
from mien.data.quality.checks import Kind, Quality
from mien.data.writers import Layout, convert_faces, write_rows
from mien.errors import DataError


class Drop(StrEnum):
    """What can be left out: duplicates, near duplicates and the other side of leaks, or a kind of finding."""

    DUPLICATES = "duplicates"
    """Identical faces but the first of each group, in the order Training, PublicTest, PrivateTest, then by row."""
    LEAKED = "leaked"
    """Test faces that are also in Training."""
    LEAKED_TRAINING = "leaked-training"
    """The other side of it: Training faces that are also in a test split, so that tests stay whole."""
    CONFLICTING = "conflicting"
    """Identical faces with different labels, all of them."""
    CONSTANT = "constant"
    """Images of a single gray."""
    NEAR_BLANK = "near-blank"
    """Images that are nearly of a single gray."""
    NEAR = "near"
    """Identical and near duplicates but the first of each group, in the same order."""
    SUSPECT = "suspect"
    """Suspect labels, by a model or by votes."""
    NOT_A_FACE = "not-a-face"
    """Rows that show no face according to most FER+ voters."""


_SUFFIXES = {".csv": Layout.CSV, ".parquet": Layout.PARQUET, "": Layout.FOLDER}


def parse_drops(words: Sequence[str], faces: Faces, model: bool) -> list[Drop]:
    """The kinds to leave out, checked against what the set has.

    Args:
        words: such as ``["duplicates", "constant"]``.
        faces: the set.
        model: whether a model finds suspect labels.

    Raises:
        DataError: for no word or an unknown one, and for kinds that need votes or a model that are not there.
    """
    known = ", ".join(Drop)
    if not words:
        raise DataError("nothing was selected to leave out", "--clean", f"Add --drop KIND, of {known}.")
    for word in words:
        if word not in list(Drop):
            raise DataError(f"there is no kind {word!r} to leave out", "--drop", f"Choose of {known}.")
    drops = [Drop(word) for word in words]
    if faces.votes is None and (Drop.NOT_A_FACE in drops or (Drop.SUSPECT in drops and not model)):
        what = "without FER+ votes" + ("" if Drop.NOT_A_FACE in drops else " and without a model")
        raise DataError(f"{what} these faces are not known", faces.name, "Join votes with mien data ferplus.")
    return drops


def layout_of(out: Path) -> Layout:
    """The layout that a path asks for: ``.csv``, ``.parquet``, or a folder of images without a suffix.

    Raises:
        DataError: for another suffix.
    """
    layout = _SUFFIXES.get(out.suffix.lower())
    if layout is None:
        raise DataError("its layout is not known", out, "Name it .csv or .parquet, or without a suffix for a folder.")
    return layout


def faces_to_drop(quality: Quality, drops: Sequence[Drop]) -> dict[int, list[str]]:
    """Why each face goes: its number -> the kinds that it is left out for, in the order of the numbers."""
    why: dict[int, list[str]] = {}
    for drop in dict.fromkeys(drops):
        for number in _numbers(quality, drop):
            why.setdefault(number, []).append(str(drop))
    return dict(sorted(why.items()))


def _numbers(quality: Quality, drop: Drop) -> list[int]:
    faces, copies = quality.faces, quality.copies
    if drop in (Drop.DUPLICATES, Drop.NEAR):
        mask = _later(faces, copies.first if drop == Drop.DUPLICATES else copies.near)
    elif drop == Drop.LEAKED_TRAINING:
        training = faces.usage == TRAINING
        mask = training & np.isin(copies.first, copies.first[~training])
    else:
        return sorted({one.face for one in quality.of(Kind(drop)) if one.face is not None})
    return np.flatnonzero(mask).tolist()


def _later(faces: Faces, group: NDArray[np.int64]) -> NDArray[np.bool_]:
    """bool (N,): all of each group but its first face, by split and then by number."""
    order = np.lexsort((np.arange(len(faces)), faces.usage, group))
    later = np.zeros(len(faces), dtype=bool)
    later[order[1:]] = group[order[1:]] == group[order[:-1]]
    return later


def write_clean(quality: Quality, drops: Sequence[Drop], out: str | Path) -> tuple[Faces, Path]:
    """Write the set without what was chosen, and beside it ``<out>-dropped.csv``: each face left out, and why.

    The log has the columns ``row``, ``usage``, ``label`` and ``why`` (kinds with ``;`` between them). Both appear whole
    or not at all.

    Returns:
        The faces written, and the log's path.

    Raises:
        DataError: where nothing would be left, or ``out`` cannot be written (:func:`convert_faces`).
    """
    out = Path(out).expanduser()
    layout = layout_of(out)
    faces, why = quality.faces, faces_to_drop(quality, drops)
    if len(why) == len(faces):
        raise DataError(f"all {len(faces):,} faces would go", faces.name, "Leave fewer kinds out.")
    left = faces.take(np.setdiff1d(np.arange(len(faces)), list(why)))
    log = log_of(out)
    with atomic(log) as temporary:
        reasons = ([faces.row[i], USAGES[faces.usage[i]], label_of(faces, i), ";".join(why[i])] for i in why)
        write_rows(temporary, ["row", "usage", "label", "why"], reasons)
        convert_faces(left, out, layout)
    return left, log


def log_of(out: Path) -> Path:
    """The log that :func:`write_clean` writes beside ``out``."""
    return out.with_name(f"{out.stem if out.suffix else out.name}-dropped.csv")


def label_of(faces: Faces, number: int) -> str:
    """A face's label in words; empty where it has none."""
    label = int(faces.emotion[number])
    return "" if label == UNLABELLED else faces.labels[label]


def write_findings(quality: Quality, path: str | Path) -> None:
    """Write one row a finding as CSV.

    Columns: ``kind``; ``row`` (in the source), ``usage`` and ``label`` of the face; ``group`` (row of the first face of
    its group); ``twin`` (row of the face that it resembles); ``score``; ``note``. What does not apply is empty.
    """
    faces, rows = quality.faces, []
    for one in quality.findings:
        face: list[object] = ["", "", ""]
        if one.face is not None:
            face = [faces.row[one.face], USAGES[faces.usage[one.face]], label_of(faces, one.face)]
        others = ["" if number is None else faces.row[number] for number in (one.group, one.twin)]
        rows.append([one.kind, *face, *others, "" if one.score is None else f"{one.score:g}", one.note])
    write_rows(path, ["kind", "row", "usage", "label", "group", "twin", "score", "note"], rows)
