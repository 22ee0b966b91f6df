"""Leaving findings out: which faces go, and that nothing is half-written."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from mien.data import Faces, load_faces
from mien.data.quality import clean as module
from mien.data.quality.checks import Quality, check_faces
from mien.data.quality.clean import Drop, faces_to_drop, layout_of, parse_drops, write_clean, write_findings
from mien.errors import DataError
from support.faulty_faces import textures


@pytest.fixture(scope="module")
def quality() -> Quality:
    """Faces 0 to 9 Training, 10 to 14 PublicTest, 15 to 19 PrivateTest, with one of each fault."""
    images = textures(20, seed=21)
    images[3] = images[1]  # a duplicate within Training
    images[10] = images[4]  # a leak
    images[16] = images[12]  # PrivateTest in PublicTest
    images[6], images[7] = images[5], images[5]  # three alike, one with another label
    images[17] = images[2][:, ::-1]  # a near duplicate
    images[9] = 50
    emotion = np.array([0, 1, 2, 1, 4, 5, 5, 6, 1, 2, 4, 4, 5, 6, 0, 1, 5, 2, 4, 5])
    usage = np.repeat([0, 1, 2], [10, 5, 5]).astype(np.uint8)
    votes = np.zeros((20, 10), np.uint8)
    votes[:, 0] = 10
    votes[8] = [0] * 9 + [10]
    return check_faces(Faces(images, emotion, usage, np.arange(100, 120), votes))


@pytest.mark.parametrize(
    ("drop", "faces"),
    [
        (Drop.DUPLICATES, [3, 6, 7, 10, 16]),
        (Drop.LEAKED, [10]),
        (Drop.LEAKED_TRAINING, [4]),
        (Drop.CONFLICTING, [5, 6, 7]),
        (Drop.CONSTANT, [9]),
        (Drop.NEAR_BLANK, []),
        (Drop.NEAR, [3, 6, 7, 10, 16, 17]),
        (Drop.NOT_A_FACE, [8]),
    ],
)
def test_each_kind_drops_its_faces(quality: Quality, drop: Drop, faces: list[int]) -> None:
    assert list(faces_to_drop(quality, [drop])) == faces


def test_suspects_go_by_votes(quality: Quality) -> None:
    """All voted neutral: every other label goes, but for the one that is not a face."""
    labels = quality.faces.emotion
    assert list(faces_to_drop(quality, [Drop.SUSPECT])) == [i for i in range(20) if labels[i] != 6 and i != 8]


@pytest.mark.parametrize("name", ["clean.csv", "clean.parquet", "clean"])
def test_the_rest_is_written_with_a_log(quality: Quality, tmp_path: Path, name: str) -> None:
    clean, log = write_clean(quality, [Drop.LEAKED, Drop.CONSTANT, Drop.DUPLICATES], tmp_path / name)
    assert len(clean) == 14
    reloaded = load_faces(tmp_path / name)
    assert reloaded.fingerprint == clean.fingerprint
    assert log == tmp_path / "clean-dropped.csv"
    rows = list(csv.DictReader(log.open()))
    assert [row["row"] for row in rows] == ["103", "106", "107", "109", "110", "116"]
    assert rows[4] == {"row": "110", "usage": "PublicTest", "label": "Sad", "why": "leaked;duplicates"}


def test_a_failed_write_leaves_nothing(quality: Quality, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise DataError("the disk is full")

    monkeypatch.setattr(module, "convert_faces", fail)
    with pytest.raises(DataError, match="disk is full"):
        write_clean(quality, [Drop.CONSTANT], tmp_path / "x.csv")
    assert list(tmp_path.iterdir()) == []


def test_a_set_is_not_emptied(tmp_path: Path) -> None:
    blank = Faces(np.zeros((2, 48, 48), np.uint8), np.zeros(2, np.int64), np.zeros(2, np.uint8), np.arange(2))
    with pytest.raises(DataError, match="all 2 faces would go"):
        write_clean(check_faces(blank), [Drop.CONSTANT], tmp_path / "x.csv")


def test_words_are_checked(some_faces: Faces, quality: Quality) -> None:
    assert parse_drops(["near", "suspect"], some_faces, model=False) == [Drop.NEAR, Drop.SUSPECT]
    with pytest.raises(DataError, match="nothing was selected"):
        parse_drops([], some_faces, model=False)
    with pytest.raises(DataError, match="no kind 'all'"):
        parse_drops(["all"], some_faces, model=False)
    bare = Faces(some_faces.images, some_faces.emotion, some_faces.usage, some_faces.row)
    with pytest.raises(DataError, match=r"without FER\+ votes"):
        parse_drops(["not-a-face"], bare, model=True)
    with pytest.raises(DataError, match=r"without FER\+ votes and without a model"):
        parse_drops(["suspect"], bare, model=False)
    assert parse_drops(["suspect"], bare, model=True) == [Drop.SUSPECT]
    with pytest.raises(DataError, match="layout is not known"):
        layout_of(Path("x.txt"))


def test_findings_have_a_row_each(quality: Quality, tmp_path: Path) -> None:
    write_findings(quality, tmp_path / "f.csv")
    rows = list(csv.DictReader((tmp_path / "f.csv").open()))
    assert len(rows) == len(quality.findings)
    leak = next(row for row in rows if row["kind"] == "leaked")
    assert (leak["row"], leak["usage"], leak["twin"]) == ("110", "PublicTest", "104")
    near = next(row for row in rows if row["kind"] == "near-duplicate")
    assert near["row"] == "102"
    assert near["twin"] == "117"
    assert float(near["score"]) > 0.99
    assert "mirrored" in near["note"]
