"""Answers that another program wrote, read strictly: one for each face, or an error."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.data.classes import class_key
from mien.data.faces import UNLABELLED, Faces
from mien.emotions import LABELS, Emotion
from mien.errors import BadRowError, DataError

SUFFIXES = (".csv", ".jsonl", ".ndjson")
"""How the names of such files end."""
ROUNDING = 0.05
"""How far a face's probabilities may be from summing to 1: some programs round each to two decimals."""
ANSWER = ("predicted", "emotion")
"""The columns that may hold the answer, the first that is there; beside ``predicted``, ``emotion`` is the label."""
MEND = "Write one line for each face of the split: its row, and its class or the probability of each."


def read_predictions(path: str | Path, faces: Faces) -> NDArray[np.int64]:
    """Read what another program says of every face.

    The file is a table (CSV) or has a JSON object on each line. Each line names a face by ``row``, the face's number in
    the data set from 0 (:attr:`Faces.row`), and says ``predicted`` or ``emotion``, a word or a number from 0 to 6, or
    seven probabilities, one under each emotion's name (in JSON under ``probabilities``); of equal ones the first
    emotion counts. For classes of one's own their names take the emotions' place. Other columns are not looked at: what
    :func:`mien.evaluation.prediction_table.predictions_csv` writes is read as well.

    Args:
        path: the file.
        faces: the N faces of one split.

    Returns:
        int64 (N,): the class named for each face, in the order of ``faces``.

    Raises:
        DataError: where the file is unreadable, or faces are missing from it.
        BadRowError: where a line names no face of the split or one that another line named, or says no class.
    """
    path = Path(path)
    place_of, classes = _places(faces), _Words(faces.labels)
    said = np.full(len(faces), UNLABELLED, np.int64)
    lines: dict[int, int] = {}
    for line, fields in _records(path):
        try:
            place = place_of.get(_row(fields))
            if place is None:
                raise ValueError(f"row {fields['row']} is no face of the split")
            if place in lines:
                raise ValueError(f"row {fields['row']} has its answer on line {lines[place]} already")
            said[place], lines[place] = _answer(fields, classes), line
        except ValueError as error:
            raise BadRowError(f"line {line}: {error}", path, MEND) from error
    if len(lines) < len(faces):
        first = faces.row[said == UNLABELLED][0]
        what = f"{len(faces) - len(lines):,} of {len(faces):,} faces have no answer; the first is row {first}"
        raise DataError(what, path, MEND)
    return said


def _places(faces: Faces) -> dict[int, int]:
    """Where each row of the source stands among the faces."""
    places = {int(row): place for place, row in enumerate(faces.row)}
    if len(places) < len(faces):
        raise DataError("several faces have the same row, so answers cannot name them", faces.name)
    return places


def _records(path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Each record with the number of the line that it ends on; the names of its fields in lower case."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError("it is not text in UTF-8", path, MEND) from error
    except OSError as error:
        raise DataError(f"it cannot be read ({error.strerror})", path, "Name an existing file of answers.") from error
    return _json_lines(text, path) if text.lstrip().startswith("{") else _table(text, path)


def _table(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        names = [name.strip().lower() for name in next(reader, [])]
        if "row" not in names or len(set(names)) < len(names):
            what = f"its header must have the column row, and none twice; it has {', '.join(names)[:80] or 'nothing'}"
            raise DataError(what, path, MEND)
        for values in reader:
            if not values:
                continue
            if len(values) != len(names):
                what = f"line {reader.line_num}: it has {len(values)} fields, the header {len(names)}"
                raise BadRowError(what, path, "The file may be cut off here; write it again.")
            yield reader.line_num, dict(zip(names, values, strict=True))
    except csv.Error as error:
        raise BadRowError(f"line {reader.line_num}: it is not a row of a table ({error})", path, MEND) from error


def _json_lines(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadRowError(f"line {number}: it is not JSON ({error})", path, MEND) from error
        shares = record.pop("probabilities", {}) if isinstance(record, dict) else None
        if not isinstance(shares, dict):
            raise BadRowError(f"line {number}: it is not an object with row and emotion or probabilities", path, MEND)
        yield number, {str(name).strip().lower(): value for name, value in (record | shares).items()}


def _row(fields: Mapping[str, Any]) -> int:
    word = str(fields.get("row", "")).strip()
    if not (word.isascii() and word.isdigit() and len(word) < 19):
        raise ValueError(f"its row is {word[:20]!r}, not a whole number from 0")
    return int(word)


class _Words:
    """What the words of answers mean: the emotions' many names, or those of one's own classes; or a class's number."""

    def __init__(self, labels: tuple[str, ...]) -> None:
        self.labels = labels
        self._places = {class_key(label): place for place, label in enumerate(labels)}

    def index(self, word: str) -> int:
        if self.labels == LABELS:
            return int(Emotion.from_word(word))
        place = self._places.get(class_key(word))
        if place is None and word.strip().isascii() and word.strip().isdigit():
            place = int(word)
        if place is None or place >= len(self.labels):
            raise ValueError(f"{word!r} is none of the classes ({', '.join(self.labels)})")
        return place


def _answer(fields: Mapping[str, Any], classes: _Words) -> int:
    for name in ANSWER:
        if name in fields:
            return classes.index(str(fields[name])[:80])
    shares = _shares(fields, classes)
    return max(range(len(shares)), key=lambda place: shares[place])


def _shares(fields: Mapping[str, Any], classes: _Words) -> list[float]:
    """The probabilities of all classes, checked."""
    shares: dict[int, float] = {}
    for name, value in fields.items():
        if name == "row":
            continue
        try:
            place = classes.index(name)
        except ValueError:
            continue
        if place in shares:
            raise ValueError(f"it has two probabilities for {classes.labels[place]}")
        shares[place] = _share(value, classes.labels[place])
    missing = [label for place, label in enumerate(classes.labels) if place not in shares]
    if missing:
        raise ValueError(f"it says no {_kind(classes)}, and no probability of {', '.join(missing)}")
    total = math.fsum(shares.values())
    if abs(total - 1) > ROUNDING:
        raise ValueError(f"its probabilities sum to {total:.3g}, not to 1")
    return [shares[place] for place in range(len(classes.labels))]


def _kind(classes: _Words) -> str:
    return "emotion" if classes.labels == LABELS else "class"


def _share(value: Any, label: str) -> float:
    try:
        share = float(value)
    except (TypeError, ValueError, OverflowError):
        share = math.nan
    if isinstance(value, bool) or not 0 <= share <= 1:
        raise ValueError(f"the probability of {label} is {str(value)[:20]!r}, not a number from 0 to 1")
    return share
