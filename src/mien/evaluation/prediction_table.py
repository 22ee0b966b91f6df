"""The table of predictions: one row a face."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien._utils.files import atomic
from mien.data.faces import UNLABELLED, USAGES, Faces


def predictions_csv(path: str | Path, faces: Faces, probabilities: NDArray[np.floating]) -> None:
    """Write what was predicted for every face as CSV.

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
        writer.writerows(_line(faces, index, row) for index, row in enumerate(probabilities))


def _line(faces: Faces, index: int, probabilities: NDArray[np.floating]) -> list[str]:
    real, predicted = int(faces.emotion[index]), int(probabilities.argmax())
    known = real != UNLABELLED
    return [
        str(faces.row[index]),
        str(USAGES[faces.usage[index]]),
        faces.labels[real] if known else "",
        faces.labels[predicted],
        str(int(real != predicted)) if known else "",
        f"{probabilities[predicted]:.6f}",
        *(f"{p:.6f}" for p in probabilities),
    ]
