"""FER+: reading Microsoft's file, joining it with checks, and the official targets against a naive reference."""

from __future__ import annotations

import csv
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.data import Faces
from mien.data.ferplus import (
    Votes,
    conflicts_with_votes,
    distribution_targets,
    join_votes,
    majority_targets,
    read_votes,
    summarize_votes,
    write_targets,
)
from mien.data.synthetic import draw_faces
from mien.emotions import FERPLUS_OF_EMOTION
from mien.errors import DataError

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"


def reference(row: list[int]) -> tuple[int, np.ndarray]:
    """The rule of the paper's authors as plain steps: majority (or -1) and distribution (zeros where left out)."""
    counted = [vote if vote > 1 else 0 for vote in row]
    total = sum(counted)
    best = counted.index(max(counted))
    majority = best if counted[best] > total / 2 and best < 8 else -1
    share, taken, count, goes_on = [0.0] * 10, 0, 0, True
    while taken < 0.75 * total and count < 3 and goes_on:
        most = max(counted)
        for option in [i for i, vote in enumerate(counted) if vote == most]:
            share[option], counted[option] = float(most), 0
            taken, count = taken + most, count + 1
            if option >= 8:
                goes_on = False
                if sum(share) > most:
                    share[option], count = 0.0, count - 1
                break
    dropped = sum(share) <= 0.5 * total or count > 3 or share.index(max(share)) >= 8
    emotions = np.array(share[:8])
    return majority, np.zeros(8) if dropped else emotions / emotions.sum()


@given(st.lists(st.integers(0, 10), min_size=10, max_size=10))
def test_the_targets_are_those_of_the_naive_rule(row: list[int]) -> None:
    majority, share = reference(row)
    assert majority_targets(np.array([row])).tolist() == [majority]
    np.testing.assert_allclose(distribution_targets(np.array([row]))[0], share, atol=1e-12)


def test_the_targets_of_fer2013_are_those_of_the_naive_rule(fer2013: Faces) -> None:
    votes = fer2013.votes
    assert votes is not None
    some = votes[::17]
    plain = [reference(row) for row in some.astype(int).tolist()]
    assert majority_targets(some).tolist() == [majority for majority, _ in plain]
    np.testing.assert_allclose(distribution_targets(some), np.array([share for _, share in plain]), atol=1e-12)


@pytest.mark.parametrize(
    ("votes", "majority"),
    [
        ([0, 6, 0, 0, 4, 0, 0, 0, 0, 0], 1),
        ([5, 5, 0, 0, 0, 0, 0, 0, 0, 0], -1),
        ([5, 1, 1, 1, 1, 1, 0, 0, 0, 0], 0),  # the five single votes do not count
        ([0, 0, 0, 0, 0, 0, 0, 8, 2, 0], 7),
        ([0, 0, 0, 0, 0, 0, 0, 0, 8, 2], -1),
        ([0, 0, 0, 0, 0, 0, 0, 0, 0, 10], -1),
        ([0] * 10, -1),
    ],
)
def test_majorities(votes: list[int], majority: int) -> None:
    assert majority_targets(np.array([votes], np.uint8)).tolist() == [majority]


@pytest.fixture(scope="module")
def voted() -> Faces:
    """300 drawn faces in the order of the splits, voted as labelled but for every fifth."""
    faces = draw_faces(300, seed=5)
    faces = replace(faces.take(np.argsort(faces.usage, kind="stable")), row=np.arange(300))
    votes = np.zeros((300, 10), np.uint8)
    votes[np.arange(300), np.array(FERPLUS_OF_EMOTION)[faces.emotion]] = 10
    votes[::5] = [0, 0, 0, 0, 0, 0, 0, 8, 2, 0]
    votes[7] = [0] * 9 + [10]
    return replace(faces, votes=votes)


def write(faces: Faces, path: Path) -> Path:
    """The file that Microsoft would have written for these faces: without a name where there is no face."""
    assert faces.votes is not None
    usages = ["Training", "PublicTest", "PrivateTest"]
    with path.open("w", newline="") as file:
        file.write(HEADER + "\n")
        writer = csv.writer(file)
        for number, (usage, votes) in enumerate(zip(faces.usage, faces.votes.tolist(), strict=True)):
            writer.writerow([usages[usage], "" if votes[9] == 10 else f"fer{number:07}.png", *votes])
    return path


def test_votes_are_read_and_joined(voted: Faces, tmp_path: Path) -> None:
    found = read_votes(write(voted, tmp_path / "fer2013new.csv"))
    assert np.flatnonzero(~found.named).tolist() == [7]
    joined = join_votes(replace(voted, votes=None), found)
    np.testing.assert_array_equal(joined.votes, voted.votes)


def as_votes(faces: Faces) -> Votes:
    assert faces.votes is not None
    return Votes(faces.usage, faces.votes, np.ones(len(faces), bool))


def test_a_set_with_gaps_in_its_rows_is_joined_by_row(voted: Faces) -> None:
    some = voted.take(np.arange(1, 300, 3))
    np.testing.assert_array_equal(join_votes(some, as_votes(voted)).votes, some.votes)


def test_a_whole_split_is_joined(voted: Faces) -> None:
    training = voted.take(voted.usage == 0)
    assert len(join_votes(training, as_votes(voted))) == len(training)


def test_tests_of_unknown_kind_are_joined(voted: Faces) -> None:
    usage = np.where(voted.usage == 0, 0, 3).astype(np.uint8)
    join_votes(replace(voted, usage=usage), as_votes(voted))


def test_another_order_is_refused(voted: Faces) -> None:
    training = np.flatnonzero(voted.usage == 0)
    order = np.concatenate([np.random.default_rng(0).permutation(training), np.flatnonzero(voted.usage > 0)])
    with pytest.raises(DataError, match="have the label that most people voted for"):
        join_votes(replace(voted.take(order), row=np.arange(300)), as_votes(voted))


def test_other_splits_are_refused(voted: Faces) -> None:
    usage = voted.usage.copy()
    usage[2] = 1
    with pytest.raises(DataError, match=r"row 2 is of PublicTest, and of Training in FER\+ \(1 rows differ\)"):
        join_votes(replace(voted, usage=usage), as_votes(voted))


def test_another_number_of_rows_is_refused(voted: Faces) -> None:
    with pytest.raises(DataError, match="it has 50 rows and FER"):
        join_votes(voted.take(np.arange(50)), as_votes(voted))
    with pytest.raises(DataError, match="numbered 0 to 299, FER"):
        join_votes(voted, as_votes(voted.take(np.arange(200))))


def test_rows_twice_are_refused(voted: Faces) -> None:
    row = voted.row.copy()
    row[5] = 4
    with pytest.raises(DataError, match="rows are numbered"):
        join_votes(replace(voted, row=row), as_votes(voted))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "its columns are none"),
        ("emotion,pixels,Usage\n1,2,3\n", "its columns are emotion, pixels, usage"),
        (f"{HEADER}\n", "it holds no rows"),
        (f"{HEADER}\nTraining,a.png,1,2\n", "data row 1: it has 4 fields"),
        (f"{HEADER}\nTraining,a.png,1,2,3,4,5,6,7,8,9,x\n", "data row 1: invalid literal"),
        (f"{HEADER}\nTraining,a.png,1,2,3,4,5,6,7,8,9,-1\n", "data row 1: a count of votes"),
        (f"{HEADER}\nHoliday,a.png,1,2,3,4,5,6,7,8,9,1\n", "data row 1: 'Holiday' is no split"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str, what: str) -> None:
    path = tmp_path / "fer2013new.csv"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_votes(path)
    assert what in str(caught.value)
    assert "fer2013new.csv" in str(caught.value)


@settings(max_examples=50)
@given(st.text(max_size=200))
def test_any_text_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("any") / "x.csv"
    path.write_text(f"{HEADER}\n{text}", encoding="utf-8")
    with suppress(DataError):
        found = read_votes(path)
        assert len(found.usage) == len(found.votes) == len(found.named) > 0


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_votes(tmp_path / "none.csv")


def test_counts_and_contradictions(voted: Faces) -> None:
    summary = summarize_votes(voted)
    training = int((voted.usage == 0).sum())
    assert summary["Training"]["contempt"] == len(range(0, training, 5))
    assert summary["Training"]["left_out"] == 1
    assert summary["Training"]["distributions"] == training - 1
    assert np.flatnonzero(conflicts_with_votes(voted)).tolist() == list(range(0, 300, 5))


def test_targets_are_written(voted: Faces, tmp_path: Path) -> None:
    write_targets(voted, tmp_path / "t.csv")
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert len(rows) == 300
    assert rows[0]["majority"] == "contempt"
    assert float(rows[0]["contempt"]) == 1.0  # the two who did not know are left out
    assert rows[7]["majority"] == ""
    assert sum(float(rows[7][name]) for name in ("neutral", "happiness", "contempt")) == 0
