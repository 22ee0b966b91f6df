"""``mien data check`` and ``mien data ferplus`` as a user runs them."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from conftest import Ran
from mien.cli.data import DROPS
from mien.data import Faces, load_faces
from mien.data.quality.clean import Drop
from mien.data.writers import convert_faces
from mien.emotions import FERPLUS_OF_EMOTION
from mien.training import Run
from support.faulty_faces import textures

FERPLUS_HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


@pytest.fixture(scope="module")
def faulty() -> Faces:
    """60 textures: two leaks, a conflict, two blanks, a near duplicate, votes that mostly agree."""
    images = textures(60, seed=31)
    images[40], images[50] = images[1], images[2]
    images[11] = images[10]
    images[5:7] = 0
    images[20] = images[21][:, ::-1]
    emotion = np.arange(60) % 7
    emotion[40], emotion[50] = emotion[1], emotion[2]
    votes = np.zeros((60, 10), np.uint8)
    votes[np.arange(60), np.array(FERPLUS_OF_EMOTION)[emotion]] = 10
    votes[30] = [0] * 9 + [10]
    votes[31] = [0] * 7 + [10, 0, 0]
    usage = np.repeat([0, 1, 2], [40, 10, 10]).astype(np.uint8)
    return Faces(images, emotion, usage, np.arange(60), votes, "faulty")


@pytest.fixture
def parquet(tmp_path: Path, faulty: Faces) -> Path:
    return convert_faces(faulty, tmp_path / "faulty.parquet", "parquet")


@pytest.fixture
def table(tmp_path: Path, faulty: Faces) -> Path:
    return convert_faces(faulty, tmp_path / "faulty.csv", "csv")


def test_check_finds_what_is_there(mien: Callable[..., Ran], parquet: Path) -> None:
    ran = mien("data", "check", parquet, "--json")
    figures = json.loads(ran.out)
    assert ran.code == 0
    assert figures["rows"] == 60
    assert (figures["duplicate_groups"], figures["duplicate_faces"]) == (4, 8)
    assert figures["leaked"] == {"PublicTest": 1, "PrivateTest": 1}
    assert figures["conflicting_groups"] == 2
    assert figures["constant"] == 2
    assert figures["near_duplicate_groups"] == 1
    assert figures["suspect_labels"] == 1
    assert figures["not_a_face"] == 1


def test_check_prints_a_table(mien: Callable[..., Ran], table: Path) -> None:
    ran = mien("data", "check", table)
    assert ran.code == 0
    for part in ("groups of identical faces", "PublicTest faces in Training", "largest to smallest", "no FER+ votes"):
        assert part in ran.out


def test_check_writes_findings_and_pictures(mien: Callable[..., Ran], parquet: Path, tmp_path: Path) -> None:
    assert mien("data", "check", parquet, "--out", tmp_path / "check").code == 0
    kinds = ["duplicate", "leaked", "conflicting", "constant", "near-duplicate", "suspect", "not-a-face"]
    assert {path.name for path in (tmp_path / "check").iterdir()} == {
        "check.json", "findings.csv", *(f"{kind}.png" for kind in kinds),
    }  # fmt: skip
    for kind in kinds:
        picture = cv2.imread(str(tmp_path / "check" / f"{kind}.png"))
        assert picture is not None
        assert picture.std() > 10
    rows = list(csv.DictReader((tmp_path / "check" / "findings.csv").open()))
    assert [row["row"] for row in rows if row["kind"] == "leaked"] == ["40", "50"]


def test_check_cleans(mien: Callable[..., Ran], table: Path, tmp_path: Path) -> None:
    out = tmp_path / "clean.csv"
    ran = mien("data", "check", table, "--clean", out, "--drop", "leaked", "--drop", "constant")
    assert ran.code == 0
    assert f"wrote 56 faces to {out}, without 4" in ran.out
    assert len(load_faces(out)) == 56
    assert len((tmp_path / "clean-dropped.csv").read_text().splitlines()) == 5


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--clean", "OUT.csv"], "nothing was selected to leave out"),
        (["--drop", "near"], "no place to write the rest"),
        (["--clean", "OUT.csv", "--drop", "everything"], "there is no kind 'everything'"),
        (["--clean", "OUT.xlsx", "--drop", "near"], "its layout is not known"),
        (["--clean", "OUT.csv", "--drop", "not-a-face"], "without FER+ votes"),
        (["--model", "none.mien"], "no such model"),
    ],
)
def test_check_refuses(mien: Callable[..., Ran], table: Path, arguments: list[str], what: str) -> None:
    ran = mien("data", "check", table, *[word.replace("OUT", str(table.parent / "out")) for word in arguments])
    assert ran.code == 2
    assert what in ran.err
    assert len(ran.err.splitlines()) == 1
    assert [path.name for path in table.parent.iterdir()] == [table.name]


def test_check_reports_bad_rows_and_sizes(mien: Callable[..., Ran], table: Path, tmp_path: Path) -> None:
    table.write_text(table.read_text() + "9,Training,1\n")
    figures = json.loads(mien("data", "check", table, "--json").out)
    assert len(figures["skipped"]) == 1
    folder = convert_faces(load_faces(table, skip_bad=True), tmp_path / "folder", "folder")
    picture = next(folder.rglob("*.png"))
    picture.write_bytes(cv2.imencode(".png", np.zeros((30, 20), np.uint8))[1].tobytes())
    for _ in range(2):  # the second time from the cache
        assert json.loads(mien("data", "check", folder, "--json").out)["wrong_sizes"] == {"20x30": 1}


def test_check_with_a_model_evaluates_unseen_faces(mien: Callable[..., Ran], drawn_csv: Path, tiny_run: Run) -> None:
    figures = json.loads(mien("data", "check", drawn_csv, "--model", tiny_run.out, "--json").out)
    assert figures["model"]["evaluated"] <= 30
    assert figures["suspect_labels"] == figures["model"]["suspects"] == figures["suspects_by"]["model"]


def test_a_model_without_unseen_faces_is_a_note(mien: Callable[..., Ran], drawn: Faces, tiny_run: Run) -> None:
    path = convert_faces(drawn.select("Training"), tiny_run.out.parent / "training.csv", "csv")
    figures = json.loads(mien("data", "check", path, "--model", tiny_run.out, "--json").out)
    assert figures["suspect_labels"] is None
    assert any("was not trained on" in note for note in figures["notes"])


def test_the_kinds_in_the_help_are_the_kinds() -> None:
    assert [word.removeprefix("or ") for word in DROPS.replace(" or ", ", ").split(", ")] == list(Drop)


@pytest.fixture
def votes_csv(tmp_path: Path, faulty: Faces) -> Path:
    assert faulty.votes is not None
    usages = ["Training", "PublicTest", "PrivateTest"]
    lines = [f"{usages[u]},fer.png,{','.join(map(str, v))}" for u, v in zip(faulty.usage, faulty.votes, strict=True)]
    path = tmp_path / "votes" / "fer2013new.csv"
    path.parent.mkdir()
    path.write_text("\n".join([FERPLUS_HEADER, *lines]) + "\n")
    return path


def test_ferplus_joins_and_writes(mien: Callable[..., Ran], table: Path, votes_csv: Path, faulty: Faces) -> None:
    out, targets = table.parent / "out.parquet", table.parent / "targets.csv"
    ran = mien("data", "ferplus", table, "--votes", votes_csv, "--out", out, "--targets", targets)
    assert ran.code == 0, ran.err
    assert "joined 60 rows" in ran.out
    np.testing.assert_array_equal(load_faces(out).votes, faulty.votes)
    assert len(targets.read_text().splitlines()) == 61


def test_ferplus_evaluates_a_model(mien: Callable[..., Ran], drawn: Faces, tiny_run: Run, tmp_path: Path) -> None:
    votes = np.zeros((len(drawn), 10), np.uint8)
    votes[np.arange(len(drawn)), np.array(FERPLUS_OF_EMOTION)[drawn.emotion]] = 10
    votes[np.flatnonzero(drawn.usage == 1)[0]] = [0] * 7 + [10, 0, 0]
    path = convert_faces(replace(drawn, votes=votes), tmp_path / "voted.parquet", "parquet")
    figures = json.loads(mien("data", "ferplus", path, "--model", tiny_run.out, "--json").out)
    public = figures["model"]["splits"]["PublicTest"]
    assert (public["n"], public["contempt"], public["classes"]) == (15, 1, 8)
    ran = mien("data", "ferplus", path, "--model", tiny_run.out)
    assert "the model knows no contempt" in ran.out


def test_ferplus_refuses(mien: Callable[..., Ran], table: Path, votes_csv: Path) -> None:
    assert "it has no FER+ votes" in mien("data", "ferplus", table).err
    assert "parquet only" in mien("data", "ferplus", table, "--votes", votes_csv, "--out", "x.csv").err
    short = votes_csv.with_name("short.csv")
    short.write_text("\n".join(votes_csv.read_text().splitlines()[:20]))
    ran = mien("data", "ferplus", table, "--votes", short, "--out", table.parent / "no.parquet")
    assert ran.code == 2
    assert "FER+ has rows 0 to 18" in ran.err
    assert not (table.parent / "no.parquet").exists()


def test_check_of_fer2013_finds_the_known_faults(mien: Callable[..., Ran], shared: Path) -> None:
    """What is known of byte-identical faces, over all rows and without the blanks that stand for lost pictures."""
    figures = json.loads(mien("data", "check", shared / "data" / "fer2013.parquet", "--json").out)
    plain = figures["without_constant"]
    assert (plain["duplicate_groups"], plain["duplicate_faces"], plain["conflicting_groups"]) == (1517, 3361, 60)
    assert (figures["duplicate_groups"], figures["duplicate_faces"], figures["conflicting_groups"]) == (1518, 3373, 61)
    assert figures["leaked"] == {"PublicTest": 279, "PrivateTest": 291}
    assert figures["private_in_public"] == 44
    assert figures["constant"] == 12
    assert figures["as_published"]
    assert figures["suspect_labels"] == 5601
    assert figures["not_a_face"] == 176
    assert 1500 < figures["near_duplicate_groups"] < 1800
