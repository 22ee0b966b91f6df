"""Near duplicates: planted ones are found, others are not."""

from __future__ import annotations

import numpy as np
import pytest

from mien.data import Faces
from mien.data.quality.near_duplicates import SIMILAR, near_pairs, similarity
from support.faulty_faces import CHANGES, textures


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_face_is_similar_and_another_is_not(change: str) -> None:
    rng = np.random.default_rng(1)
    for one, other in zip(*np.split(textures(60, seed=2), 2), strict=True):
        changed = CHANGES[change](one, rng)
        assert max(similarity(one, changed), similarity(one, changed, mirrored=True)) > SIMILAR
        assert max(similarity(one, other), similarity(one, other, mirrored=True)) < SIMILAR


def test_similarity_is_that_of_a_plain_loop() -> None:
    one, other = textures(2, seed=3).astype(np.float64)
    middle = other[4:44, 4:44]
    windows = [one[down : down + 40, right : right + 40] for down in range(9) for right in range(9)]
    plain = max(np.corrcoef(window.ravel(), middle.ravel())[0, 1] for window in windows)
    assert similarity(one.astype(np.uint8), other.astype(np.uint8)) == pytest.approx(plain, abs=1e-4)


def test_planted_near_duplicates_are_found_and_nothing_else() -> None:
    """All five changes, 60 of each among 2,000 textures: recall of every change and precision of the whole."""
    rng = np.random.default_rng(4)
    base = textures(2000, seed=5)
    planted = [CHANGES[name](base[i * 60 + k], rng) for i, name in enumerate(CHANGES) for k in range(60)]
    pairs = near_pairs(np.concatenate([base, planted]))
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    expected = {(i, 2000 + i) for i in range(300)}
    for start, name in enumerate(CHANGES):
        some = {(i, 2000 + i) for i in range(start * 60, start * 60 + 60)}
        assert len(some & found) >= 57, name
    assert len(found & expected) / len(found) > 0.99
    assert (pairs.mirrored == [name in ("mirrored", "all at once") for name in _names(pairs.first)]).mean() > 0.99


def _names(first: np.ndarray) -> list[str]:
    return [list(CHANGES)[min(i // 60, 4)] for i in first.tolist()]


def test_a_photo_of_fer2013_is_found_among_all(fer2013: Faces) -> None:
    """Every change to real faces: recall over 95 %."""
    rng = np.random.default_rng(6)
    images = fer2013.images[10_000:13_000]
    chosen = rng.choice(3000, 200, replace=False)
    names = list(CHANGES)
    planted = np.stack([CHANGES[names[k % 5]](images[i], rng) for k, i in enumerate(chosen)])
    pairs = near_pairs(np.concatenate([images, planted]))
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert sum((int(i), 3000 + k) in found for k, i in enumerate(chosen)) >= 190


def test_one_scene_many_times_is_still_one_chain_of_pairs() -> None:
    """A bucket with more faces than are compared must not lose the group."""
    rng = np.random.default_rng(7)
    base = textures(1, seed=8)[0].astype(int)
    images = (base + rng.integers(-3, 4, (300, 48, 48))).clip(0, 255).astype(np.uint8)
    pairs = near_pairs(images)
    assert len(np.unique(np.concatenate([pairs.first, pairs.second]))) == 300
    assert (pairs.first < pairs.second).all()


@pytest.mark.parametrize("change", CHANGES)
def test_two_faces_that_are_all_there_is_are_compared(change: str) -> None:
    one = textures(1, seed=10)[0]
    pairs = near_pairs(np.stack([one, CHANGES[change](one, np.random.default_rng(1))]))
    assert (pairs.first.tolist(), pairs.second.tolist()) == ([0], [1])


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_images_have_no_pairs(n: int) -> None:
    assert len(near_pairs(textures(2, seed=9)[:n]).first) == 0
