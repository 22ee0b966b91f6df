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

from mien.data.faces import UNLABELLED, Faces
from mien.emotions import LABELS, Emotion
from mien.errors import BadRowError, DataError

SUFFIXES = (".csv", ".jsonl", ".ndjson")
"""How the names of such files end."""
ROUNDING = 0.05
"""How far seven probabilities may be from summing to 1: some programs round each to two decimals."""
ANSWER = ("predicted", "emotion")
"""The columns that may hold the answer, the first that is there; beside ``predicted``, ``emotion`` is the label."""
MEND = "Write one line for each face of the split: its row, and its emotion or seven probabilities."


def read_predictions(path: str | Path, faces: Faces) -> NDArray[np.int64]:
    """Read what another program says of every face.

    The file is a table (CSV) or has a JSON object on each line. Each line names a face by ``row``, the face's number in
    the data set from 0 (:attr:`Faces.row`), and says ``predicted`` or ``emotion``, a word or a number from 0 to 6, or
    seven probabilities, one under each emotion's name (in JSON under ``probabilities``); of equal ones the first
    emotion counts. Other columns are not looked at: what :func:`mien.evaluate.table.predictions_csv` writes is read as
    well.

    Args:
        path: the file.
        faces: the N faces of one split of the seven emotions.

    Returns:
        int64 (N,), 0 to 6: the emotion named for each face, in the order of ``faces``.

    Raises:
        DataError: where the file is unreadable, or faces are missing from it.
        BadRowError: where a line names no face of the split or one that another line named, or says no emotion.
    """
    path = Path(path)
    place_of = _places(faces)
    said = np.full(len(faces), UNLABELLED, np.int64)
    lines: dict[int, int] = {}
    for line, fields in _records(path):
        try:
            place = place_of.get(_row(fields))
            if place is None:
                raise ValueError(f"row {fields['row']} is no face of the split")
            if place in lines:
                raise ValueError(f"row {fields['row']} has its answer on line {lines[place]} already")
            said[place], lines[place] = _answer(fields), line
        except ValueError as error:
            raise BadRowError(f"line {line}: {error}", path, MEND) from error
    if len(lines) < len(faces):
        first = faces.row[said == UNLABELLED][0]
        what = f"{len(faces) - len(lines):,} of {len(faces):,} faces have no answer; the first is row {first}"
        raise DataError(what, path, MEND)
    return said


def _places(faces: Faces) -> dict[int, int]:
    """Where each row of the source stands among the faces."""
    if faces.labels != LABELS:
        raise DataError(f"answers are read for the seven emotions ({', '.join(LABELS)}) only", faces.name)
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


def _answer(fields: Mapping[str, Any]) -> Emotion:
    for name in ANSWER:
        if name in fields:
            return Emotion.from_word(str(fields[name])[:40])
    shares = _shares(fields)
    return max(Emotion, key=lambda emotion: shares[emotion])


def _shares(fields: Mapping[str, Any]) -> dict[Emotion, float]:
    """The seven probabilities, checked."""
    shares: dict[Emotion, float] = {}
    for name, value in fields.items():
        try:
            emotion = Emotion.from_word(name)
        except ValueError:
            continue
        if emotion in shares:
            raise ValueError(f"it has two probabilities for {emotion.label}")
        shares[emotion] = _share(value, emotion)
    missing = [emotion.label for emotion in Emotion if emotion not in shares]
    if missing:
        raise ValueError(f"it says no emotion, and no probability of {', '.join(missing)}")
    total = math.fsum(shares.values())
    if abs(total - 1) > ROUNDING:
        raise ValueError(f"its probabilities sum to {total:.3g}, not to 1")
    return shares


def _share(value: Any, emotion: Emotion) -> float:
    try:
        share = float(value)
    except (TypeError, ValueError, OverflowError):
        share = math.nan
    if isinstance(value, bool) or not 0 <= share <= 1:
        raise ValueError(f"the probability of {emotion.label} is {str(value)[:20]!r}, not a number from 0 to 1")
    return share
