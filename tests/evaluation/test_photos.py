"""Photos in folders by expression, end to end with a detector whose answers are known."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib import cbook
from PIL import Image

from mien import Predictor, evaluate_photos
from mien.emotions import LABELS, LabelOrder
from mien.errors import DataError
from mien.evaluation.photos import photo_figures
from mien.inference.results import Face, Prediction

if TYPE_CHECKING:
    from conftest import Ran
    from mien.training import Run


def face(emotion: int, share: float = 0.7) -> Face:
    rest = (1 - share) / 6
    return Face((0, 0, 8, 8), {name: share if n == emotion else rest for n, name in enumerate(LABELS)}, 0.9)


def photo(*emotions: int) -> Prediction:
    return Prediction("x.jpg", 9, 9, tuple(map(face, emotions)))


def test_the_figures_by_hand() -> None:
    """The first face counts; without a face, or unreadable, a photo is wrong."""
    real = np.array([0, 0, 3, 3, 3, 3, 4, 5, 6, 6])
    found = [photo(0), photo(), photo(3), photo(6, 3), photo(3), Prediction("y.jpg", error="broken")]
    found += [photo(4), photo(5), photo(6), photo(6)]
    figures = photo_figures(real, found, LABELS)
    assert (figures["n"], figures["missed"], figures["unreadable"]) == (10, 1, 1)
    assert figures["accuracy"] == pytest.approx(0.7)
    assert figures["balanced_accuracy"] == pytest.approx((1 / 2 + 2 / 4 + 1 + 1 + 1) / 5)
    assert figures["mean5"] == figures["balanced_accuracy"]
    assert figures["columns"][-1] == "no face"
    assert figures["confusion"][0] == [1, 0, 0, 0, 0, 0, 0, 1]
    assert figures["confusion"][3] == [0, 0, 0, 2, 0, 0, 1, 1]
    assert figures["per_class"]["Happy"]["recall"] == 0.5
    with_fear = photo_figures(np.append(real, 2), [*found, photo(6)], LABELS)
    assert with_fear["mean5"] == figures["mean5"]
    assert with_fear["balanced_accuracy"] == pytest.approx(4 / 6)
    assert photo_figures(real[:2], found[:2], LABELS)["mean5"] is None


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two photos of a face, one of a wall, one file that is no image, and a text."""
    sample = str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))
    for place in ("Happiness/a.jpg", "neutral/more/neutral/b.jpg"):
        (tmp_path / "photos" / place).parent.mkdir(parents=True)
        shutil.copy(sample, tmp_path / "photos" / place)
    (tmp_path / "photos" / "sad").mkdir()
    Image.new("RGB", (320, 200), "#c8b8a0").save(tmp_path / "photos" / "sad" / "wall.png")
    (tmp_path / "photos" / "sad" / "broken.jpg").write_bytes(b"\xff\xd8 and no more")
    (tmp_path / "photos" / "sad" / "notes.txt").write_text("x")
    return tmp_path / "photos"


def test_photos_are_processed_as_predict_does(photos: Path, tmp_path: Path, mien: Callable[..., Ran]) -> None:
    predictor = Predictor("tiny", threads=1)
    result = evaluate_photos(predictor, photos)
    assert [LABELS[label] for label in result.real] == ["Happy", "Neutral", "Sad", "Sad"]
    for one in result.predictions:
        if one.error is None:
            assert replace(predictor.predict(one.path), source=None) == one
    ran = mien("evaluate", "tiny", "--photos", photos, "--out", tmp_path / "out", "--json")
    assert ran.code == 0
    assert "broken.jpg" in ran.err
    assert "not read: 1 file (.txt: 1)" in ran.err
    found = json.loads(ran.out)
    expected = result.to_dict()
    assert found.pop("seconds") > 0 < expected.pop("seconds")
    assert found == json.loads(json.dumps(expected))
    assert (found["missed"], found["unreadable"], found["detector"]) == (1, 1, "YuNet")
    with (tmp_path / "out" / "photos-predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["real"] for row in rows] == ["Happy", "Neutral", "Sad", "Sad"]
    assert [row["wrong"] for row in rows[2:]] == ["1", "1"]
    assert rows[0]["emotion"] == result.predictions[0].faces[0].emotion
    with Image.open(tmp_path / "out" / "photos-confusion.png") as image:
        assert image.width > image.height
    text = mien("evaluate", "tiny", "--photos", photos).out
    assert "4 photos, no face in 1, 1 unreadable" in text
    assert f"class-balanced accuracy {found['balanced_accuracy']:.2%}" in text


def test_folders_that_are_no_class_are_refused(photos: Path, tiny_run: Run, mien: Callable[..., Ran]) -> None:
    predictor = Predictor(tiny_run.out, detector="none")
    (photos / "sad").rename(photos / "1")
    with pytest.raises(DataError, match="number the emotions differently"):
        evaluate_photos(predictor, photos)
    found = evaluate_photos(predictor, photos, LabelOrder.AFFECTNET)
    assert found.real.tolist() == [3, 3, 3, 6]
    (photos / "1").rename(photos / "people")
    ran = mien("evaluate", tiny_run.out, "--photos", photos)
    assert (ran.code, ran.out) == (2, "")
    assert "people: the folder is none of the model's classes (Angry, " in ran.err
    shutil.copy(photos / "Happiness" / "a.jpg", photos / "a.jpg")
    with pytest.raises(DataError, match="in no folder of a class"):
        evaluate_photos(predictor, photos)
    with pytest.raises(DataError, match="no image in this folder"):
        evaluate_photos(predictor, tiny_run.out / "checkpoints")
    assert mien("evaluate", tiny_run.out, "--photos", photos, "--data", photos).code == 2
