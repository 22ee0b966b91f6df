"""Which images are the same, pixel for pixel, and which numbers belong together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mien.data.faces import pixel_keys


def first_copies(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """int64 (N,): the number of the first image with the same pixels as each of the images uint8 (N, 48, 48)."""
    first: dict[bytes, int] = {}
    return np.array([first.setdefault(key, i) for i, key in enumerate(pixel_keys(images))], np.int64)


def connected(n: int, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """The connected parts of a graph of ``n`` nodes with an edge from each of ``one`` to its counterpart in ``other``.

    Returns:
        int64 (n,): the smallest node of each node's part.
    """
    part, before = np.arange(n), np.full(n, -1)
    while not np.array_equal(part, before):
        before = part.copy()
        lowest = np.minimum(part[one], part[other])
        np.minimum.at(part, one, lowest)
        np.minimum.at(part, other, lowest)
        part = part[part]
    return part


def sizes(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many members each member's group has, int64 (N,), where groups have the numbers 0 to N - 1."""
    return np.bincount(group, minlength=len(group))[group]
