"""The table of predictions."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien.data.synthetic import draw_faces
from mien.emotions import LABELS
from mien.evaluation.predictions import predictions_csv


def test_one_row_a_face(tmp_path: Path) -> None:
    faces = draw_faces(10, seed=2)
    faces = replace(faces, emotion=np.array([0, 1, 2, 3, 4, 5, 6, -1, 0, 1]), row=faces.row + 100)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(7), 10)
    probabilities[0] = [0.9, 0.1, 0, 0, 0, 0, 0]
    probabilities[1] = [0.9, 0.1, 0, 0, 0, 0, 0]
    path = tmp_path / "predictions.csv"
    predictions_csv(path, faces, probabilities)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["row", "usage", "real", "predicted", "wrong", "confidence", *LABELS]
    assert [int(row["row"]) for row in rows] == list(range(100, 110))
    assert [row["usage"] for row in rows] == ["Training"] * 8 + ["PublicTest", "PrivateTest"]
    right, wrong, unknown = rows[0], rows[1], rows[7]
    assert (right["real"], right["predicted"], right["wrong"], right["confidence"]) == (
        "Angry",
        "Angry",
        "0",
        "0.900000",
    )
    assert (wrong["real"], wrong["predicted"], wrong["wrong"]) == ("Disgust", "Angry", "1")
    assert (unknown["real"], unknown["wrong"]) == ("", "")
    read = np.array([[float(row[label]) for label in LABELS] for row in rows])
    assert np.abs(read - probabilities).max() <= 5.1e-7


def test_shapes_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"shape \(10, 7\)"):
        predictions_csv(tmp_path / "a.csv", draw_faces(10), np.ones((10, 6)))
    assert list(tmp_path.iterdir()) == []
