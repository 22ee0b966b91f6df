"""A model's figures by groups of people or images, from a table of each face's groups."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from mien.data.faces import Faces
from mien.errors import BadRowError, DataError, require
from mien.evaluation.metrics import macro_f1
from mien.evaluation.tables import read_text, table_rows

KEYS = ("row", "sha256")
"""The columns that may identify a face: its row number in the data set, or the SHA-256 of its pixels."""
FEWEST = 10
"""Groups of fewer faces have figures, but no part in the gap."""
MEND = "Write a table with the column row (or sha256) and a column for each grouping, such as age."

Groups = dict[str, list[str]]
"""For each grouping the group of each of N faces; empty where the file states none."""


def pixel_sha256(image: NDArray[np.uint8]) -> str:
    """A face's key, 64 hex digits: the SHA-256 of its 48x48 gray pixels, row by row."""
    return hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest()


def read_groups(path: str | Path, whole: Faces, faces: Faces) -> Groups:
    """Read a table of groups, CSV or parquet.

    Each line has a face's ``row`` (:attr:`Faces.row`) or ``sha256`` (:func:`pixel_sha256`); every other column is a
    grouping, and its cell the face's group. Faces of other splits are ignored; an empty cell states nothing.

    Args:
        path: the file.
        whole: the data set.
        faces: its N evaluated faces.

    Raises:
        DataError: where the file is unreadable, has no grouping, or states nothing of any face of the split.
        BadRowError: where a line has a face that the data set does not have, or one that another line has.
        MissingExtraError: for parquet, where pyarrow is not installed.
    """
    path = Path(path)
    records = list(_parquet(path) if path.suffix.lower() == ".parquet" else _table(path))
    names = list(records[0][1]) if records else []
    key = next((name for name in KEYS if name in names), None)
    groupings = [name for name in names if name not in KEYS]
    if key is None or not groupings:
        raise DataError(f"it has the columns {', '.join(names) or '(none)'}", path, MEND)
    known = set(_keys(whole, key))
    places: dict[str, list[int]] = {}  # equal pixels share a key
    for place, one in enumerate(_keys(faces, key)):
        places.setdefault(one, []).append(place)
    found: Groups = {name: [""] * len(faces) for name in groupings}
    seen: dict[str, int] = {}
    for line, record in records:
        face = record[key].strip().lower()
        if face not in known:
            raise BadRowError(f"line {line}: {whole.name} has no face with the {key} {face[:80]!r}", path, MEND)
        if face in seen:
            raise BadRowError(f"line {line}: {key} {face[:80]} is on line {seen[face]} already", path, MEND)
        seen[face] = line
        for place in places.get(face, ()):
            for name in groupings:
                found[name][place] = record[name].strip()
    if not any(any(groups) for groups in found.values()):
        raise DataError("it states the group of no face of the split", path, "Choose the split with --split.")
    return found


def _keys(faces: Faces, key: str) -> list[str]:
    return [str(row) for row in faces.row] if key == "row" else [pixel_sha256(image) for image in faces.images]


def _table(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    rows = table_rows(read_text(path, MEND), path, MEND)
    names = [name.strip() for name in next(rows, (1, []))[1]]
    if len(set(names)) < len(names):
        raise DataError("two of its columns have the same name", path, MEND)
    for line, values in rows:
        yield line, dict(zip(names, values, strict=True))


def _parquet(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    arrow, parquet = require("pyarrow", "train"), require("pyarrow.parquet", "train")
    try:
        rows = parquet.read_table(path).to_pylist()
    except (arrow.ArrowException, OSError, ValueError, LookupError) as error:
        raise DataError(f"it cannot be read ({str(error).splitlines()[0]})", path, MEND) from error
    for number, row in enumerate(rows, start=1):
        yield number, {str(name): "" if value is None else str(value) for name, value in row.items()}


def group_figures(groups: Groups, faces: Faces, probabilities: NDArray[np.floating]) -> dict[str, Any]:
    """A model's figures in every group of every grouping.

    Args:
        groups: what :func:`read_groups` gives for the N faces.
        faces: the N faces, all labelled.
        probabilities: float (N, classes), rows summing to 1.

    Returns:
        For each grouping ``groups`` (group -> ``n``, ``accuracy``, ``interval``: Wilson's of 95 %, ``macro_f1``),
        ``not_stated`` (faces without a group) and ``gap``: the ``highest`` and the ``lowest`` accuracy's group among
        those of :data:`FEWEST` faces or more, their ``difference`` and its ``interval`` of 95 %; None for fewer than
        two such groups. The interval is of these two groups; their selection as the extremes is not in it.
    """
    return {name: _figures(np.array(cells, dtype=object), faces, probabilities) for name, cells in groups.items()}


def _figures(cells: NDArray[Any], faces: Faces, probabilities: NDArray[np.floating]) -> dict[str, Any]:
    found = {}
    for group in sorted({cell for cell in cells if cell}):
        mine = cells == group
        hits = probabilities[mine].argmax(1) == faces.emotion[mine]
        found[group] = {
            "n": int(mine.sum()),
            "accuracy": float(hits.mean()),
            "interval": wilson(int(hits.sum()), int(mine.sum())),
            "macro_f1": macro_f1(probabilities[mine], faces.emotion[mine]),
        }
    return {"groups": found, "not_stated": int((cells == "").sum()), "gap": _gap(found)}


def wilson(hits: int, n: int) -> tuple[float, float]:
    """The 95 % interval of a share by Wilson's score (Wilson 1927), each end 0 to 1."""
    ends = stats.binomtest(hits, n).proportion_ci(0.95, method="wilson")
    return float(ends.low), float(ends.high)


def _gap(found: Mapping[str, Mapping[str, Any]]) -> dict[str, Any] | None:
    """Newcombe 1998, Statistics in Medicine 17, method 10: an interval of a difference from both shares' intervals."""
    large = {group: one for group, one in found.items() if one["n"] >= FEWEST}
    if len(large) < 2:
        return None
    highest = max(large, key=lambda group: large[group]["accuracy"])
    lowest = min((group for group in large if group != highest), key=lambda group: large[group]["accuracy"])
    high, low = large[highest], large[lowest]
    difference = high["accuracy"] - low["accuracy"]
    below = math.hypot(high["accuracy"] - high["interval"][0], low["interval"][1] - low["accuracy"])
    above = math.hypot(high["interval"][1] - high["accuracy"], low["accuracy"] - low["interval"][0])
    ends = (difference - below, difference + above)
    return {"highest": highest, "lowest": lowest, "difference": difference, "interval": ends}
