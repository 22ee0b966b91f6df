"""Identical images and connected parts, against plain loops."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from mien.data.quality.duplicates import connected, first_copies, sizes


def test_the_first_copy_is_that_of_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (40, 48, 48), dtype=np.uint8)[rng.integers(0, 40, 90)]
    images[7, 47, 47] ^= 1  # one pixel makes it another image
    plain = [next(j for j in range(90) if (images[j] == images[i]).all()) for i in range(90)]
    assert first_copies(images).tolist() == plain
    assert sizes(first_copies(images)).tolist() == [plain.count(one) for one in plain]


def test_no_images_have_no_copies() -> None:
    assert len(first_copies(np.empty((0, 48, 48), np.uint8))) == 0


@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=20))
def test_connected_parts_are_those_of_repeated_merging(edges: list[tuple[int, int]]) -> None:
    parts = [{node} for node in range(12)]
    for a, b in edges:
        one, other = (next(part for part in parts if node in part) for node in (a, b))
        if one is not other:
            parts.remove(other)
            one |= other
    plain = [min(next(part for part in parts if node in part)) for node in range(12)]
    one = np.array([a for a, _ in edges], np.int64)
    other = np.array([b for _, b in edges], np.int64)
    assert connected(12, one, other).tolist() == plain
