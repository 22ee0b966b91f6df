"""``mien data crop``: from photos to a data set that trains."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib import cbook
from PIL import Image, ImageEnhance

from conftest import Ran
from mien.data import load_faces
from mien.inference import Predictor


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A photo of a face in two classes and three splits, each time in another light, and a wall."""
    with Image.open(str(cbook.get_sample_data("grace_hopper.jpg", asfileobj=False))) as image:
        photo = image.convert("RGB")
    for number in range(18):
        path = tmp_path / "photos" / ("train", "validation", "test")[number % 3] / ("calm", "moved")[number % 2]
        path.mkdir(parents=True, exist_ok=True)
        ImageEnhance.Brightness(photo).enhance(0.6 + number / 30).save(path / f"{number}.jpg")
    Image.new("RGB", (320, 200), "#c8b8a0").save(path / "wall.png")
    return tmp_path / "photos"


def test_photos_become_a_data_set_that_trains(photos: Path, tmp_path: Path, mien: Callable[..., Ran]) -> None:
    noted = mien("data", "info", photos)
    assert "19 of 19 images are far from square or large" in noted.err
    assert "mien data crop PHOTOS OUT" in noted.err
    ran = mien("data", "crop", photos, tmp_path / "crops", "--threads", 1)
    assert (ran.code, ran.err) == (0, "")
    assert "wrote 18 faces to" in ran.out
    faces = load_faces(tmp_path / "crops")
    assert (faces.labels, faces.notes) == (("calm", "moved"), ())
    assert faces.splits() == {"Training": 6, "PublicTest": 6, "PrivateTest": 6}
    sets = ("--set", "phases.0.epochs=1", "--set", "phases.1.epochs=1", "--device", "cpu")
    place = ("--data", tmp_path / "crops", "--out", tmp_path / "run")
    assert mien("train", "finetune", "--init", "tiny", *place, *sets).code == 0
    assert Predictor(tmp_path / "run").labels == ("calm", "moved")


def test_json_counts_what_was_found(photos: Path, tmp_path: Path, mien: Callable[..., Ran]) -> None:
    (photos / "test/calm/notes.md").touch()
    ran = mien("data", "crop", photos, tmp_path / "crops", "--all", "--json")
    figures = json.loads(ran.out)
    counts = {"photos": 4, "with_face": 3, "crops": 3, "without_face": 1, "unreadable": 0}
    assert figures["folders"]["test/moved"] == counts
    assert (figures["crops"], figures["unread"]) == (18, {".md": 1})
    assert [Path(path).exists() for path in figures["files"]] == [True] * 3
    assert "not read: 1 file (.md: 1)" in ran.err


def test_a_detector_and_its_smallest_face_are_chosen_as_for_predict(
    photos: Path, tmp_path: Path, mien: Callable[..., Ran]
) -> None:
    ran = mien("data", "crop", photos, tmp_path / "whole", "--detector", "none")
    assert (ran.code, len(load_faces(tmp_path / "whole"))) == (0, 19)
    ran = mien("data", "crop", photos, tmp_path / "crops", "--detector", "none", "--min-face", 20)
    assert (ran.code, "no smallest face" in ran.err, (tmp_path / "crops").exists()) == (2, True, False)
