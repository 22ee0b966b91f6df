"""The FER+ votes of the package: any layout of FER2013 has them, other faces have none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conftest import Ran
from mien._utils import assets
from mien.data import Faces, load_faces
from mien.data.known_votes import KnownVotes, known_votes, look_up_votes, vote_adder, with_known_votes
from mien.data.shards.reader import Shards
from mien.data.writers import convert_faces
from mien.errors import AssetError


def own_table(faces: Faces, votes: np.ndarray) -> KnownVotes:
    from mien.data.known_votes import face_keys

    return KnownVotes(face_keys(faces.images), np.ones(len(faces), bool), votes.astype(np.uint8))


def test_fer2013_has_the_votes_of_the_shared_table(fer2013: Faces) -> None:
    found = with_known_votes(replace(fer2013, votes=None))
    np.testing.assert_array_equal(found.votes, fer2013.votes)
    assert found.notes[-1] == "FER+ votes: known for 35,887 of 35,887 faces by their pixels"


def test_so_has_every_layout_in_any_order(fer2013: Faces, tmp_path: Path) -> None:
    """Numbered anew, so that only the pixels are left to go by."""
    pick = np.random.default_rng(3).permutation(len(fer2013))[:300]
    some = replace(fer2013.take(pick), row=np.arange(300), votes=None)
    of_pixels: dict[bytes, list[np.ndarray]] = {}
    assert fer2013.votes is not None
    for image, votes in zip(fer2013.images, fer2013.votes, strict=True):
        of_pixels.setdefault(image.tobytes(), []).append(votes)
    for layout, name in (("csv", "a.csv"), ("old-csv", "b.csv"), ("folder", "c"), ("parquet", "d.parquet")):
        read = load_faces(convert_faces(some, tmp_path / name, layout), cache=False, make_splits=False)
        assert read.votes is not None
        for image, votes in zip(read.images, read.votes, strict=True):
            known = np.rint(np.mean(of_pixels[image.tobytes()], axis=0)) * (image.min() < image.max())
            np.testing.assert_array_equal(votes, known)


def test_copies_have_the_votes_of_their_rows_or_else_the_mean(drawn: Faces) -> None:
    images = drawn.images[[0, 1, 0]]
    faces = Faces(images, np.zeros(3, np.int64), np.zeros(3, np.uint8), np.arange(3))
    votes = np.zeros((3, 10), np.uint8)
    votes[0, 1], votes[1, 2], votes[2, 1], votes[2, 3] = 10, 10, 4, 6
    known = own_table(faces, votes)
    np.testing.assert_array_equal(look_up_votes(faces, known), votes)
    elsewhere = replace(faces, row=np.array([7, 8, 9]))
    mean = look_up_votes(elsewhere, known)
    assert (mean[0, 1], mean[0, 3], mean[2, 1]) == (7, 3, 7)
    np.testing.assert_array_equal(mean[1], votes[1])


def test_rows_without_lossless_pixels_go_by_their_place_in_kaggles_order(drawn: Faces) -> None:
    faces = replace(drawn.take(np.arange(40)), row=np.arange(40))
    votes = np.random.default_rng(0).integers(1, 5, (40, 10))
    known = own_table(faces, votes)
    known.exact[7] = False
    images = faces.images.copy()
    images[7] ^= 1
    images[8] ^= 1
    found = look_up_votes(replace(faces, images=images), known)
    np.testing.assert_array_equal(found[7], votes[7])
    assert not found[8].any()
    apart = look_up_votes(replace(faces, images=images, row=np.arange(40)[::-1].copy()), known)
    assert not apart[7].any()


def test_other_faces_have_none_nor_have_blanks_of_other_sets(drawn: Faces, tmp_path: Path) -> None:
    assert with_known_votes(drawn) is drawn
    blank = drawn.images.copy()
    blank[:3] = 0  # as row 633 of FER2013
    faces = replace(drawn, images=blank)
    assert with_known_votes(faces) is faces
    path = convert_faces(drawn.take(np.arange(50)), tmp_path / "x.csv", "csv")
    assert load_faces(path).votes is None
    others = replace(drawn, labels=tuple("abcdefg"))
    assert with_known_votes(others) is others


def test_shards_have_them_in_every_block_or_in_none(fer2013: Faces, drawn: Faces, tmp_path: Path) -> None:
    some = replace(fer2013.take(np.arange(28_600, 28_800)), votes=None)
    path = convert_faces(some, tmp_path / "x.csv", "csv")
    from mien.data.shards.writer import write_shards

    write_shards(path, tmp_path / "shards")
    assert Shards.open(tmp_path / "shards").index.votes
    add = vote_adder()
    assert add(some).votes is not None
    later = add(drawn).votes
    assert later is not None
    assert not later.any()
    add = vote_adder()
    assert add(drawn).votes is None
    assert add(some).votes is None


def test_kaggles_file_is_enough_to_train_with_votes_and_to_count_them(
    mien: Callable[..., Ran], fer2013: Faces, tmp_path: Path
) -> None:
    some = replace(fer2013.take(np.r_[0:120, 28_709:28_769, 32_298:32_358]), votes=None)
    path = convert_faces(some, tmp_path / "icml_face_data.csv", "csv")
    ran = mien("data", "ferplus", path, "--json")
    assert (ran.code, '"majority"' in ran.out or "left_out" in ran.out) == (0, True)
    small = ("--set", "network.cut=2", "--set", "phases.0.epochs=1", "--set", "batch_size=32")
    ran = mien("train", "fast", "--data", path, "--out", tmp_path / "run", *small)
    assert ran.code == 0, ran.err
    assert "FER+ votes: known for" in ran.err
    assert "with the FER+ majority" in ran.out


def test_a_damaged_file_is_one_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = (assets.ASSETS / assets.FERPLUS_VOTES).read_bytes()
    assert len(data) < 1_000_000
    monkeypatch.setattr(assets, "ASSETS", tmp_path)
    (tmp_path / assets.FERPLUS_VOTES).write_bytes(data[: len(data) // 2])
    with pytest.raises(AssetError, match=r"ferplus_votes\.npz: .* is damaged.*Install mien again"):
        known_votes()
