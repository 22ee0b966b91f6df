"""FER+: ten votes a face for FER2013 (Barsoum et al. 2016, arXiv:1608.01041), joined to a data set, and its targets.

Microsoft's file, ``fer2013new.csv``, has one row a row of Kaggle's ``fer2013.csv``, in the same order, and only this
order shows which votes belong to which face: the numbers in its column ``Image name`` are not row numbers, and the
name is empty where Microsoft found no face.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien.data.builder import TRAINING, usage_from_word
from mien.data.faces import UNLABELLED, USAGES, Faces, Usage
from mien.data.writers import write_rows
from mien.emotions import FERPLUS, FERPLUS_OF_EMOTION, LABELS
from mien.errors import DataError

SEEN: tuple[str, ...] = FERPLUS[:8]
"""FER+'s eight emotions in its order; ``unknown`` and ``nf`` come after them."""

DROPPED = -1
"""The majority of a face that the official filtering leaves out."""

_COLUMNS = ("usage", "image name", *(name.lower() for name in FERPLUS))
_AGREEMENT, _BLOCK, _FEW = 0.4, 1000, 50
_MEND = "Give Microsoft's fer2013new.csv as it is."
_ORDER = "FER+ goes by the row order of Kaggle's file: name icml_face_data.csv, fer2013.csv or a conversion of them."


class Votes(NamedTuple):
    """What ``fer2013new.csv`` holds: ``usage`` uint8 (M,), ``votes`` uint8 (M, 10), ``named`` bool (M,)."""

    usage: NDArray[np.uint8]
    votes: NDArray[np.uint8]
    named: NDArray[np.bool_]


def read_votes(path: str | Path) -> Votes:
    """Read ``fer2013new.csv``.

    Returns:
        Split, votes and whether the row names an image, in the order of the file.

    Raises:
        DataError: where it cannot be read, or a row is not a split, a name and ten whole numbers.
    """
    path = Path(path).expanduser()
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(_vote_rows(csv.reader(file), path))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"it cannot be read ({error})", path, _MEND) from error
    if not rows:
        raise DataError("it holds no rows", path, _MEND)
    usage, named, votes = zip(*rows, strict=True)
    return Votes(np.array(usage, np.uint8), np.array(votes, np.uint8), np.array(named, bool))


def _vote_rows(lines: Iterator[list[str]], path: Path) -> Iterator[tuple[int, bool, list[int]]]:
    header = [column.strip().lower() for column in next(lines, [])]
    if tuple(header) != _COLUMNS:
        what = f"its columns are {', '.join(header)[:80] or 'none'}, not those of FER+"
        raise DataError(what, path, _MEND)
    for number, fields in enumerate(lines, start=1):
        if not fields:
            continue
        try:
            yield _vote_row(fields)
        except ValueError as error:
            raise DataError(f"data row {number}: {error}", path, _MEND) from error


def _vote_row(fields: list[str]) -> tuple[int, bool, list[int]]:
    if len(fields) != len(_COLUMNS):
        raise ValueError(f"it has {len(fields)} fields, not {len(_COLUMNS)}")
    votes = [int(field) for field in fields[2:]]
    if min(votes) < 0 or max(votes) > 255:
        raise ValueError("a count of votes is not 0 to 255")
    return usage_from_word(fields[0]), bool(fields[1].strip()), votes


def join_votes(faces: Faces, found: Votes) -> Faces:
    """Give every face the votes of its row in Kaggle's file, after checking that the rows are the same.

    A set may lack rows (bad ones left out, a part of the faces), as long as each face knows its row. Checked are: no
    row number twice or beyond the end; the split of every face (a test face of neither the public nor the private part
    passes for both); and the labels, as a list in another order may well have the same splits: in every
    1,000 faces one after another, at least 40 % of those with a clear majority of votes must have the label that got
    it. FER2013 as published has 68 % or more (chance: 14 to 25 %).

    Raises:
        DataError: where the rows are not those of the votes, saying which check failed first and where.
    """
    row, many = faces.row, len(found.votes)
    if faces.labels != LABELS:
        raise DataError("FER+ votes are for the seven emotions", faces.name, f"Its classes: {', '.join(faces.labels)}.")
    if len(np.unique(row)) != len(row) or row.min() < 0 or row.max() >= many:
        what = f"its {len(faces):,} rows are numbered {row.min():,} to {row.max():,}, FER+ has rows 0 to {many - 1:,}"
        raise DataError(what, faces.name, _ORDER)
    if _is_cut(faces, found):
        what = f"it has {len(faces):,} rows and FER+ {many:,}, so which belong together is not known"
        raise DataError(what, faces.name, _ORDER)
    _check_splits(faces, found.usage[row])
    joined = replace(faces, votes=found.votes[row])
    _check_labels(joined)
    return joined


def _is_cut(faces: Faces, found: Votes) -> bool:
    """Whether a split lacks rows at its end: numbers from 0 on are then just as well those of another set."""
    counted = np.array_equal(faces.row, np.arange(len(faces))) and not faces.skipped
    return counted and bool(np.isin(found.usage[len(faces) :], faces.usage).any())


def _check_splits(faces: Faces, usage: NDArray[np.uint8]) -> None:
    either = faces.usage == USAGES.index(Usage.TEST)
    same = (faces.usage == usage) | (either & (usage != TRAINING))
    if not same.all():
        face = int(np.flatnonzero(~same)[0])
        what = f"row {faces.row[face]:,} is of {USAGES[faces.usage[face]]}, and of {USAGES[usage[face]]} in FER+"
        raise DataError(f"{what} ({np.count_nonzero(~same):,} rows differ)", faces.name, _ORDER)


def _check_labels(faces: Faces) -> None:
    majority, clear = faces.majority()
    for start in range(0, len(faces), _BLOCK):
        part = slice(start, start + _BLOCK)
        known = clear[part] & (faces.emotion[part] != UNLABELLED)
        agreed = float((majority[part] == faces.emotion[part])[known].mean()) if known.any() else 1.0
        if known.sum() >= _FEW and agreed < _AGREEMENT:
            rows = faces.row[part]
            what = (
                f"of its rows {rows[0]:,} to {rows[-1]:,} only {agreed:.0%} have the label that most people voted for"
            )
            raise DataError(f"{what}, so they are not in FER+'s order", faces.name, _ORDER)


def count_votes(votes: NDArray[np.integer]) -> NDArray[np.int64]:
    """int64 (N, 10): the votes that count, where an option's single vote is an outlier and counts as none."""
    return np.where(votes > 1, votes, 0).astype(np.int64)


def majority_targets(votes: NDArray[np.integer]) -> NDArray[np.int64]:
    """The official filtering for one label a face (``majority`` in Microsoft's code).

    Single votes do not count. The option with the most of the remaining votes must have more than half of them; faces
    without such an option, and those where it is ``unknown`` or ``nf``, are left out.

    Args:
        votes: int (N, 10), in the order of :data:`mien.emotions.FERPLUS`.

    Returns:
        int64 (N,): 0 to 7 in the order of :data:`SEEN`, or -1 for a face that is left out.
    """
    counted = count_votes(votes)
    best = counted.argmax(1)
    clear = 2 * counted.max(1) > counted.sum(1)
    return np.where(clear & (best < len(SEEN)), best, DROPPED)


def distribution_targets(votes: NDArray[np.integer]) -> NDArray[np.float64]:
    """The official filtering for a distribution a face (``probability`` and ``crossentropy`` in Microsoft's code).

    Single votes do not count. Options are taken from the most votes down, all that tie together, until three are taken
    or three quarters of the votes. ``unknown`` and ``nf`` end this: where other options came before them they are
    themselves left out, else the face is. A face is left out, too, where what was taken is no more than half of the
    votes, more than three options, or led by ``unknown`` or ``nf``. The rest is scaled to sum to 1.

    Args:
        votes: int (N, 10), in the order of :data:`mien.emotions.FERPLUS`.

    Returns:
        float64 (N, 8), in the order of :data:`SEEN`; rows sum to 1, and to 0 for a face that is left out.
    """
    return np.array([_distribution(row) for row in count_votes(votes)]).reshape(-1, len(SEEN))


def _distribution(counted: NDArray[np.int64]) -> NDArray[np.float64]:
    """One face's distribution float64 (8,), all 0 where it is left out."""
    total, left = int(counted.sum()), counted.copy()
    taken = np.zeros(len(FERPLUS))
    reached, options = 0, 0
    while reached < 0.75 * total and options < 3:
        most = left.max()
        for option in np.flatnonzero(left == most):
            taken[option], left[option] = most, 0
            reached += int(most)
            options += 1
            if option >= len(SEEN):
                if taken.sum() > most:
                    taken[option] = 0.0
                    options -= 1
                reached = total  # nothing is taken after unknown or nf
                break
    is_out = 2 * taken.sum() <= total or options > 3 or taken.argmax() >= len(SEEN)
    return np.zeros(len(SEEN)) if is_out else taken[: len(SEEN)] / taken[: len(SEEN)].sum()


def conflicts_with_votes(faces: Faces) -> NDArray[np.bool_]:
    """bool (N,): faces whose official majority is another emotion than their label.

    Raises:
        DataError: where the set has no votes, or its classes are not the seven emotions.
    """
    faces.vote_shares()
    assert faces.votes is not None
    majority = majority_targets(faces.votes)
    label = np.array(FERPLUS_OF_EMOTION)[faces.emotion]
    differs: NDArray[np.bool_] = (majority != DROPPED) & (faces.emotion != UNLABELLED) & (majority != label)
    return differs


def summarize_votes(faces: Faces) -> dict[str, dict[str, int]]:
    """For every split: faces by official majority (``neutral`` to ``contempt``), ``left_out``, ``distributions``.

    ``distributions`` is how many faces have a distribution. Raises DataError as :func:`conflicts_with_votes`.
    """
    faces.vote_shares()
    summary: dict[str, dict[str, int]] = {}
    for name in faces.splits():
        votes = faces.select(name).votes
        assert votes is not None
        left_out, *counts = np.bincount(majority_targets(votes) + 1, minlength=len(SEEN) + 1).tolist()
        known = int((distribution_targets(votes).sum(1) > 0).sum())
        summary[name] = dict(zip(SEEN, counts, strict=True)) | {"left_out": left_out, "distributions": known}
    return summary


def write_targets(faces: Faces, path: str | Path) -> None:
    """Write both targets as CSV: ``row``, ``usage``, ``majority`` (a word, or empty) and a column an emotion.

    Raises:
        DataError: as :func:`conflicts_with_votes`.
    """
    faces.vote_shares()
    assert faces.votes is not None
    majority, shares = majority_targets(faces.votes), distribution_targets(faces.votes)
    rows = (
        [row, USAGES[usage], "" if best == DROPPED else SEEN[best], *(f"{value:.4f}" for value in share)]
        for row, usage, best, share in zip(faces.row, faces.usage, majority, shares, strict=True)
    )
    write_rows(path, ["row", "usage", "majority", *SEEN], rows)
