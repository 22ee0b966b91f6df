"""Predictions as files: the table that ``mien evaluate`` writes, and those that other programs write, read strictly."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien._utils.files import atomic
from mien.data.classes import class_key
from mien.data.faces import UNLABELLED, USAGES, Faces
from mien.emotions import LABELS, Emotion
from mien.errors import BadRowError, DataError
from mien.evaluation.tables import read_text, table_rows

SUFFIXES = (".csv", ".jsonl", ".ndjson")
"""The suffixes of such files."""
ROUNDING = 0.05
"""How far a face's probabilities may be from summing to 1: some programs round each to two decimals."""
MEND = "Write one line for each face of the split: its row, and its class or the probability of each."


def read_predictions(path: str | Path, faces: Faces) -> NDArray[np.int64]:
    """Read another program's prediction for every face.

    The file is a table (CSV) or has a JSON object on each line. Each line has ``row``, the face's number in the data
    set from 0 (:attr:`Faces.row`), and ``predicted`` or ``emotion``, a word or a number from 0 to 6, or seven
    probabilities, one under each emotion's name (in JSON under ``probabilities``); of equal ones the first emotion
    counts. Custom classes go by their own names. Other columns are ignored: files of :func:`predictions_csv` are read
    as well.

    Args:
        path: the file.
        faces: the N faces of one split.

    Returns:
        int64 (N,): the predicted class of each face, in the order of ``faces``.

    Raises:
        DataError: where the file is unreadable, or faces are missing from it.
        BadRowError: where a line has no face of the split, or one that another line has, or no class.
    """
    path = Path(path)
    index_of = {int(row): index for index, row in enumerate(faces.row)}
    if len(index_of) < len(faces):
        raise DataError("several faces have the same row, so predictions cannot be assigned to them", faces.name)
    text = read_text(path, MEND)
    records = _json_lines(text, path) if text.lstrip().startswith("{") else _table(text, path)
    predicted = np.full(len(faces), UNLABELLED, np.int64)
    lines: dict[int, int] = {}
    for line, fields in records:
        try:
            index = index_of.get(_row(fields))
            if index is None:
                raise ValueError(f"row {fields['row']} is no face of the split")
            if index in lines:
                raise ValueError(f"row {fields['row']} has its prediction on line {lines[index]} already")
            predicted[index], lines[index] = _prediction(fields, faces.labels), line
        except ValueError as error:
            raise BadRowError(f"line {line}: {error}", path, MEND) from error
    if len(lines) < len(faces):
        first = faces.row[predicted == UNLABELLED][0]
        what = f"{len(faces) - len(lines):,} of {len(faces):,} faces have no prediction; the first is row {first}"
        raise DataError(what, path, MEND)
    return predicted


def _table(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Each record with the number of the line that it ends on; the names of its fields in lower case."""
    rows = table_rows(text, path, "The file may be cut off here; write it again.")
    names = [name.strip().lower() for name in next(rows, (1, []))[1]]
    if "row" not in names or len(set(names)) < len(names):
        what = f"its header must have the column row, and none twice; it has {', '.join(names)[:80] or 'nothing'}"
        raise DataError(what, path, MEND)
    for line, values in rows:
        yield line, dict(zip(names, values, strict=True))


def _json_lines(text: str, path: Path) -> Iterator[tuple[int, Mapping[str, Any]]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BadRowError(f"line {number}: it is not JSON ({error})", path, MEND) from error
        found = record.pop("probabilities", {}) if isinstance(record, dict) else None
        if not isinstance(found, dict):
            raise BadRowError(f"line {number}: it is not an object with row and emotion or probabilities", path, MEND)
        yield number, {str(name).strip().lower(): value for name, value in (record | found).items()}


def _row(fields: Mapping[str, Any]) -> int:
    word = str(fields.get("row", "")).strip()
    if not (word.isascii() and word.isdigit() and len(word) < 19):
        raise ValueError(f"its row is {word[:20]!r}, not a whole number from 0")
    return int(word)


def _class(word: str, labels: tuple[str, ...]) -> int:
    """The class that a word or a number stands for."""
    if labels == LABELS:
        return int(Emotion.from_word(word))
    keys = [class_key(label) for label in labels]
    if (key := class_key(word)) in keys:
        return keys.index(key)
    if word.strip().isascii() and word.strip().isdigit() and int(word) < len(labels):
        return int(word)
    raise ValueError(f"{word!r} is none of the classes ({', '.join(labels)})")


def _prediction(fields: Mapping[str, Any], labels: tuple[str, ...]) -> int:
    """The class in a record; beside ``predicted``, ``emotion`` is the label."""
    for name in ("predicted", "emotion"):
        if name in fields:
            return _class(str(fields[name])[:80], labels)
    found: dict[int, float] = {}
    for name, value in fields.items():
        if name == "row":
            continue
        try:
            index = _class(name, labels)
        except ValueError:
            continue
        if index in found:
            raise ValueError(f"it has two probabilities for {labels[index]}")
        found[index] = _probability(value, labels[index])
    missing = [label for index, label in enumerate(labels) if index not in found]
    if missing:
        kind = "emotion" if labels == LABELS else "class"
        raise ValueError(f"it has no {kind}, and no probability of {', '.join(missing)}")
    total = math.fsum(found.values())
    if abs(total - 1) > ROUNDING:
        raise ValueError(f"its probabilities sum to {total:.3g}, not to 1")
    return max(range(len(labels)), key=lambda index: found[index])


def _probability(value: Any, label: str) -> float:
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.nan
    if isinstance(value, bool) or not 0 <= found <= 1:
        raise ValueError(f"the probability of {label} is {str(value)[:20]!r}, not a number from 0 to 1")
    return found


def predictions_csv(path: str | Path, faces: Faces, probabilities: NDArray[np.floating]) -> None:
    """Write the prediction for every face as CSV.

    Columns: ``row`` (in the faces' source), ``usage``, ``real``, ``predicted``, ``wrong`` (0 or 1), ``confidence`` (the
    predicted class's probability), and each class's probability under its name; probabilities have six decimals. For a
    face without label, ``real`` and ``wrong`` are empty.

    Args:
        path: the file to write; it appears whole or not at all.
        faces: N faces.
        probabilities: float (N, C), with C the number of ``faces.labels``.

    Raises:
        ValueError: where the shapes do not fit.
    """
    if probabilities.shape != (len(faces), len(faces.labels)):
        expected = (len(faces), len(faces.labels))
        raise ValueError(f"probabilities must have the shape {expected}, not {probabilities.shape}")
    with atomic(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["row", "usage", "real", "predicted", "wrong", "confidence", *faces.labels])
        for index, row in enumerate(probabilities):
            true, predicted = int(faces.emotion[index]), int(row.argmax())
            real, wrong = (faces.labels[true], int(true != predicted)) if true != UNLABELLED else ("", "")
            fields = [faces.row[index], USAGES[faces.usage[index]], real, faces.labels[predicted], wrong]
            writer.writerow([*fields, f"{row[predicted]:.6f}", *(f"{p:.6f}" for p in row)])
