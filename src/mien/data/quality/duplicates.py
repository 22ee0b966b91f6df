"""Which images are the same, pixel for pixel, and which numbers belong together."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def first_copies(images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """For every image, the number of the first one with the same pixels (its own where there is none before it).

    Images are told apart by SHA-256, so that memory grows by a few bytes an image and not by its pixels.

    Args:
        images: uint8 (N, 48, 48).

    Returns:
        int64 (N,).
    """
    first: dict[bytes, int] = {}
    digests = (hashlib.sha256(image).digest() for image in np.ascontiguousarray(images))
    return np.fromiter((first.setdefault(key, number) for number, key in enumerate(digests)), np.int64, len(images))


def connected(n: int, one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """The connected parts of a graph of ``n`` nodes with an edge from each of ``one`` to the same place of ``other``.

    Returns:
        int64 (n,): the smallest node of each node's part.
    """
    parent = list(range(n))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for a, b in zip(one.tolist(), other.tolist(), strict=True):
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    return np.fromiter((root(node) for node in range(n)), np.int64, n)


def sizes(group: NDArray[np.int64]) -> NDArray[np.int64]:
    """How many members each member's group has, int64 (N,), where a group is named by one of 0 to N - 1."""
    return np.bincount(group, minlength=len(group))[group]
