"""Blocks of faces become one set, which is held once."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from mien.data.builder import Builder
from mien.errors import DataError


def test_blocks_of_any_size_are_put_together_in_their_order() -> None:
    rng = np.random.default_rng(0)
    builder, sizes = Builder(Path("set")), [3, 0, 1, 40, 2, 0, 500, 7]
    blocks = [rng.integers(0, 256, (size, 48, 48), np.uint8) for size in sizes]
    for block in blocks:
        size = len(block)
        builder.add(block.reshape(size, 48 * 48), [size % 7] * size, [0] * size, list(range(size)))
    faces = builder.build("set")
    assert np.array_equal(faces.images, np.concatenate(blocks))
    assert faces.emotion.tolist() == [size % 7 for size in sizes for _ in range(size)]
    assert faces.images.base is None


def test_a_set_is_held_once_while_it_is_read() -> None:
    builder, block, count = Builder(Path("set")), np.ones((512, 48, 48), np.uint8), 60
    tracemalloc.start()
    try:
        for number in range(count):
            builder.add(block.copy(), [1] * 512, [0] * 512, list(range(number * 512, (number + 1) * 512)))
        faces = builder.build("set")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(faces) == count * 512
    assert peak < 1.2 * faces.images.nbytes


def test_nothing_is_no_set() -> None:
    with pytest.raises(DataError, match="no rows"):
        Builder(Path("set")).build("set")
