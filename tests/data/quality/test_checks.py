"""The check of a data set: planted faults are all found, and nothing else."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mien.data import Faces
from mien.data.quality.checks import Kind, Quality, check_faces
from support.faulty_faces import CHANGES, textures


@pytest.fixture(scope="module")
def planted() -> Quality:
    """700 textures with 20 duplicates within Training, 15 leaks, 10 conflicts, 25 near duplicates, 4 blanks."""
    rng = np.random.default_rng(0)
    images = textures(700, seed=11)
    emotion, usage = np.arange(700) % 7, np.repeat([0, 1, 2], [500, 100, 100]).astype(np.uint8)
    images[100:120], emotion[100:120] = images[0:20], emotion[0:20]
    images[500:510], emotion[500:510] = images[20:30], emotion[20:30]
    images[600:605], emotion[600:605] = images[30:35], emotion[30:35]
    images[120:130], emotion[120:130] = images[40:50], (emotion[40:50] + 1) % 7
    for i, name in enumerate(CHANGES):
        for k in range(5):
            images[200 + i * 5 + k] = CHANGES[name](images[50 + i * 5 + k], rng)
    images[300:303], images[303] = 99, 7
    images[303, 0, 0] = 8
    return check_faces(Faces(images, emotion, usage, np.arange(700)))


def found(quality: Quality, kind: Kind) -> set[int]:
    return {finding.face for finding in quality.of(kind) if finding.face is not None}


def test_identical_faces_are_found(planted: Quality) -> None:
    expected = {*range(50)} - {*range(35, 40)} | {*range(100, 130), *range(500, 510), *range(600, 605), 300, 301, 302}
    assert found(planted, Kind.DUPLICATE) == expected
    assert planted.figures["duplicate_groups"] == 46
    assert planted.figures["duplicate_faces"] == 93
    assert planted.figures["without_constant"]["duplicate_groups"] == 45
    assert planted.figures["without_constant"]["duplicate_faces"] == 90


def test_leaks_are_found(planted: Quality) -> None:
    assert found(planted, Kind.LEAKED) == {*range(500, 510), *range(600, 605)}
    assert planted.figures["leaked"] == {"PublicTest": 10, "PrivateTest": 5}
    assert {finding.twin for finding in planted.of(Kind.LEAKED)} == {*range(20, 35)}


def test_conflicts_are_found(planted: Quality) -> None:
    """Of the three blanks of one gray, the labels differ as well: they conflict where blanks count."""
    assert found(planted, Kind.CONFLICTING) == {*range(40, 50), *range(120, 130), 300, 301, 302}
    assert planted.figures["conflicting_groups"] == 11
    assert planted.figures["without_constant"]["conflicting_groups"] == 10


def test_near_duplicates_are_found(planted: Quality) -> None:
    """Recall 96 % or more, precision 100 %."""
    expected = {*range(50, 75), *range(200, 225)}
    assert found(planted, Kind.NEAR_DUPLICATE) <= expected
    assert len(found(planted, Kind.NEAR_DUPLICATE)) >= 48


def test_blanks_are_found(planted: Quality) -> None:
    assert found(planted, Kind.CONSTANT) == {300, 301, 302}
    assert found(planted, Kind.NEAR_BLANK) == {303}
    assert (planted.figures["constant"], planted.figures["near_blank"]) == (3, 1)


def test_what_could_not_be_checked_is_noted(planted: Quality) -> None:
    assert planted.figures["suspect_labels"] is None
    assert planted.figures["not_a_face"] is None
    assert any("no FER+ votes" in note for note in planted.figures["notes"])
    assert any("no model" in note for note in planted.figures["notes"])
    assert not planted.figures["as_published"]


def test_near_twins_in_training_count_as_near_leaks() -> None:
    images = textures(60, seed=12)
    images[50] = CHANGES["mirrored"](images[3], np.random.default_rng(0))
    images[51] = images[4]
    usage = np.repeat([0, 1], [50, 10]).astype(np.uint8)
    figures = check_faces(Faces(images, np.arange(60) % 7, usage, np.arange(60))).figures
    assert figures["near_leaked"] == {"PublicTest": 1}
    assert figures["leaked"] == {"PublicTest": 1}
    assert figures["near_conflicting_groups"] == 1


def test_sizes_and_bad_rows_are_findings(some_faces: Faces) -> None:
    odd = replace(some_faces, resized=("a.png: 96x96", "b.png: 96x96", "c.png: 10x9"), skipped=("d.png: cut",))
    quality = check_faces(odd)
    assert quality.figures["wrong_sizes"] == {"96x96": 2, "10x9": 1}
    assert [one.note for one in quality.of(Kind.BAD_ROW)] == ["d.png: cut"]
    assert len(quality.of(Kind.WRONG_SIZE)) == 3


def test_a_set_without_training_or_labels_is_checked() -> None:
    faces = Faces(textures(5, 1), np.full(5, -1), np.full(5, 3, np.uint8), np.arange(5))
    figures = check_faces(faces).figures
    assert figures["leaked"] == {}
    assert figures["unlabelled"] == 5
    assert figures["imbalance"] == {"test": None}
    assert any("no Training split" in note for note in figures["notes"])
