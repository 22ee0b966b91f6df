"""A model's figures by groups of people or pictures, from a file that says which face belongs to which group."""

from __future__ import annotations

import csv
import hashlib
import io
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

KEYS = ("row", "sha256")
"""The columns that may name a face: its row number in the data set, or the SHA-256 of its pixels."""
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

    Each line names a face by ``row`` (:attr:`Faces.row`) or ``sha256`` (:func:`pixel_sha256`); every other column is a
    grouping, and its cell the face's group. Faces of other splits are passed over; an empty cell states nothing.

    Args:
        path: the file.
        whole: the data set.
        faces: its N faces of the split that is judged.

    Raises:
        DataError: where the file is unreadable, has no grouping, or states nothing of any face of the split.
        BadRowError: where a line names a face that the data set does not have, or one that another line named.
        MissingExtraError: for parquet, where pyarrow is not installed.
    """
    path = Path(path)
    records = list(_parquet(path) if path.suffix.lower() == ".parquet" else _table(path))
    names = list(records[0][1]) if records else []
    key = next((name for name in KEYS if name in names), None)
    groupings = [name for name in names if name not in KEYS]
    if key is None or not groupings:
        raise DataError(f"it has the columns {', '.join(names) or '(none)'}", path, MEND)
    known, places = set(_keys(whole, key)), _places(faces, key)
    found: Groups = {name: [""] * len(faces) for name in groupings}
    seen: dict[str, int] = {}
    for line, record in records:
        face = record[key].strip().lower()
        if face not in known:
            raise BadRowError(f"line {line}: {whole.name} has no face with the {key} {face[:80]!r}", path, MEND)
        if face in seen:
            raise BadRowError(f"line {line}: {key} {face[:80]} stands on line {seen[face]} already", path, MEND)
        seen[face] = line
        for place in places.get(face, ()):
            for name in groupings:
                found[name][place] = record[name].strip()
    if not any(any(groups) for groups in found.values()):
        raise DataError("it states the group of no face of the split", path, "Choose the split with --split.")
    return found


def _keys(faces: Faces, key: str) -> list[str]:
    return [str(row) for row in faces.row] if key == "row" else [pixel_sha256(image) for image in faces.images]


def _places(faces: Faces, key: str) -> dict[str, list[int]]:
    """Where the faces with a key stand; equal pixels share one."""
    places: dict[str, list[int]] = {}
    for place, one in enumerate(_keys(faces, key)):
        places.setdefault(one, []).append(place)
    return places


def _table(path: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    try:
        reader = csv.reader(io.StringIO(path.read_text(encoding="utf-8-sig"), newline=""), strict=True)
        names = [name.strip() for name in next(reader, [])]
        if len(set(names)) < len(names):
            raise DataError("two of its columns have the same name", path, MEND)
        for values in reader:
            if values and len(values) != len(names):
                what = f"line {reader.line_num}: it has {len(values)} fields, the header {len(names)}"
                raise BadRowError(what, path, MEND)
            if values:
                yield reader.line_num, dict(zip(names, values, strict=True))
    except UnicodeDecodeError as error:
        raise DataError("it is not text in UTF-8", path, MEND) from error
    except csv.Error as error:
        raise DataError(f"it is not a table ({error})", path, MEND) from error
    except OSError as error:
        raise DataError(f"it cannot be read ({error.strerror})", path, "Name an existing file of groups.") from error


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
        two such groups. The interval is of these two groups; that they were picked as the ends is not in it.
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
