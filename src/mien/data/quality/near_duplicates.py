"""Near duplicates: the same image shifted by a few pixels, re-encoded, mirrored, or brighter or darker.

Two steps, so that time grows with the number of faces and not with its square:

1. **Candidates by locality-sensitive hashing** (Charikar, "Similarity estimation techniques from rounding algorithms",
   2002). A face's descriptor holds the means of its middle 42x42 pixels in 14x14 cells, in the 24 lowest frequencies of
   a cosine transform. Each of 12 tables hashes it to the signs of floor(log2 N) + 2 random projections less their
   medians, so that a bucket holds about as many faces in a large set as in a small one. Every face is looked up as
   it is and mirrored, moved by -2, 0 and 2 pixels each way; those that share a bucket and whose descriptors have a
   cosine of at least 0.9 are candidates.
2. **Comparison that allows for a shift.** The middle 40x40 pixels of one slide over the other, up to 4 pixels each way;
   the similarity is the highest correlation coefficient of their gray levels, which no change of brightness or contrast
   alters (but for what it clips). Candidates that fall short by more than 0.12 at half the resolution are not compared
   any further; this loses about 1 in 500 near duplicates.

The threshold of 0.94 was chosen on pairs of FER2013 by eye: of 40 pairs between 0.940 and 0.945 all showed the same
photo (other crops, encodings, contrasts and watermarks), between 0.92 and 0.93 37 of 40, between 0.90 and 0.91 30 of
40; the wrong ones are mostly faces half in the dark. Frames of a film that differ by little count as near duplicates
too.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.data.faces import SIDE

SIMILAR = 0.94
"""The lowest correlation of near duplicates."""

_SHIFTS = (-2, 0, 2)
_CELL, _CELLS, _MARGIN = 3, 14, 4
_COMPONENTS, _TABLES, _BITS = 24, 12, 24
_COSINE = 0.9
_BUCKET = 64
_PARTNERS = 8
_SLACK = 0.12
_BLOCK = 2048
_SAMPLE = 4096


class Pairs(NamedTuple):
    """Pairs of near duplicates: ``first`` < ``second`` int64 (P,), ``mirrored`` bool (P,), ``similarity`` (P,)."""

    first: NDArray[np.int64]
    second: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    similarity: NDArray[np.float32]


def near_pairs(images: NDArray[np.uint8], threshold: float = SIMILAR) -> Pairs:
    """Find pairs of near duplicates.

    The same images give the same pairs. Memory beside the images is under 1 kB an image; a face has at most 8
    candidates in each direction, the most alike, so that a set of very many equal scenes is still done in linear time.

    Args:
        images: uint8 (N, 48, 48), no two the same and none nearly blank.
        threshold: the lowest similarity, -1 to 1.

    Returns:
        Each pair once, by ``first``, then ``second``; one that is alike both as it is and mirrored has the better of
        the two.
    """
    if len(images) < 2:
        return _pairs(np.empty((0, 3), np.int64), np.empty(0, np.float32))
    found = np.concatenate(list(_candidates(images)))  # (C, 3)
    found = np.unique(found, axis=0)
    similarity = _similarities(images, found, threshold)
    keep = similarity >= threshold
    return _pairs(found[keep], similarity[keep])


def similarity(one: NDArray[np.uint8], other: NDArray[np.uint8], mirrored: bool = False) -> float:
    """How alike two faces are, -1 to 1: the best correlation over shifts of up to a twelfth of the side each way.

    Both are uint8 (48, 48), shifted by up to 4 pixels, or both smaller squares.
    """
    margin = len(one) // 12
    middle = other[margin:-margin, margin:-margin]
    middle = np.ascontiguousarray(middle[:, ::-1] if mirrored else middle)
    return float(cv2.matchTemplate(np.ascontiguousarray(one), middle, cv2.TM_CCOEFF_NORMED).max())


def _pairs(found: NDArray[np.int64], similarity: NDArray[np.float32]) -> Pairs:
    """The better of the two where a pair is found as it is and mirrored."""
    order = np.lexsort((-similarity, found[:, 1], found[:, 0]))
    found, similarity = found[order], similarity[order]
    fresh = np.ones(len(found), dtype=bool)
    fresh[1:] = (np.diff(found[:, :2], axis=0) != 0).any(1)
    found = found[fresh]
    return Pairs(found[:, 0], found[:, 1], found[:, 2] == 1, similarity[fresh])


def _similarities(images: NDArray[np.uint8], found: NDArray[np.int64], threshold: float) -> NDArray[np.float32]:
    """float32 (C,), lower than the threshold for those that half the resolution has ruled out."""
    half = np.concatenate([_halve(images[start : start + _BLOCK]) for start in range(0, len(images), _BLOCK)])

    def values(part: NDArray[np.int64]) -> list[float]:
        found = []
        for i, j, mirrored in part.tolist():
            coarse = similarity(half[i], half[j], bool(mirrored))
            found.append(coarse - 1 if coarse < threshold - _SLACK else similarity(images[i], images[j], mirrored))
        return found

    parts = np.array_split(found, max(1, len(found) // 512))
    with ThreadPoolExecutor() as pool:
        return np.array([value for part in pool.map(values, parts) for value in part], np.float32)


def _halve(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (n, 24, 24): the means of 2x2 pixels."""
    tall = np.ascontiguousarray(images).reshape(-1, SIDE)
    half = cv2.resize(tall, (SIDE // 2, len(tall) // 2), interpolation=cv2.INTER_AREA)
    return cast("NDArray[np.uint8]", half.reshape(-1, SIDE // 2, SIDE // 2))


class _Index:
    """The descriptors of all faces, and for every table which faces have which hash."""

    def __init__(self, images: NDArray[np.uint8]) -> None:
        rng = np.random.default_rng(0)
        self.bits = int(np.clip(np.log2(len(images)) + 2, 1, _BITS))
        self._basis = _basis()
        self._planes = rng.standard_normal((_COMPONENTS, _TABLES * self.bits)).astype(np.float32)
        sample = self.describe(_blur(images[:: -(-len(images) // _SAMPLE)]))
        self._middle = np.median(sample @ self._planes, axis=0).astype(np.float32)
        parts = [self.describe(_blur(images[start : start + _BLOCK])) for start in range(0, len(images), _BLOCK)]
        self.vectors = np.concatenate(parts)  # (N, 24)
        codes = np.concatenate([self.hash(part) for part in parts])  # (N, 12)
        self.order = np.argsort(codes, axis=0, kind="stable").T.astype(np.int32)  # (12, N)
        ends = [np.cumsum(np.bincount(column, minlength=1 << self.bits)) for column in codes.T]
        self.starts = np.pad(np.stack(ends), ((0, 0), (1, 0))).astype(np.int32)  # (12, 2**bits + 1)

    def describe(
        self, blurred: NDArray[np.uint8], right: int = 0, down: int = 0, mirror: bool = False
    ) -> NDArray[np.float32]:
        """float32 (n, 24), of length 1, of faces moved by some pixels."""
        return _unit(_cells(blurred, right, down, mirror) @ self._basis)

    def hash(self, vectors: NDArray[np.float32]) -> NDArray[np.int32]:
        """int32 (n, 12): each table's hash."""
        signs = (vectors @ self._planes > self._middle).reshape(len(vectors), _TABLES, self.bits)
        weights = (1 << np.arange(self.bits)).astype(np.float32)  # exact in float32 up to 24 bits
        codes: NDArray[np.int32] = (signs @ weights).astype(np.int32)
        return codes

    def lookup(
        self, first: int, vectors: NDArray[np.float32], table: int, codes: NDArray[np.int32]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Which queries share a bucket with which faces (query * N + face), and their cosine.

        Of a bucket with more than 64 faces, 64 are compared, which differ from query to query.
        """
        start = self.starts[table, codes]
        count = self.starts[table, codes + 1] - start
        surplus = np.maximum(count - _BUCKET, 0)
        full = np.flatnonzero(surplus)
        start[full] += (full + first) * 7919 % (surplus[full] + 1)
        count = np.minimum(count, _BUCKET)
        query = np.repeat(np.arange(len(codes)), count)
        face = self.order[table, np.arange(len(query)) + np.repeat(start - np.cumsum(count) + count, count)]
        cosine = np.einsum("ij,ij->i", vectors[query], self.vectors[face])
        alike = (cosine >= _COSINE) & (face != query + first)
        return query[alike] * len(self.vectors) + face[alike], cosine[alike]


def _candidates(images: NDArray[np.uint8]) -> Iterator[NDArray[np.int64]]:
    """Blocks of candidates, int64 (c, 3): the smaller number, the larger, and 1 where one of them is mirrored."""
    index = _Index(images)
    for first in range(0, len(images), _BLOCK):
        blurred = _blur(images[first : first + _BLOCK])
        for mirror in (False, True):
            yield _lookups(index, first, blurred, mirror)


def _lookups(index: _Index, first: int, blurred: NDArray[np.uint8], mirror: bool) -> NDArray[np.int64]:
    n = len(index.vectors)
    keys, cosines = [], []
    for down in _SHIFTS:
        for right in _SHIFTS:
            vectors = index.describe(blurred, right, down, mirror)
            for table, codes in enumerate(index.hash(vectors).T):
                found, cosine = index.lookup(first, vectors, table, codes)
                keys.append(found)
                cosines.append(cosine)
    query, face = _most_alike(np.concatenate(keys), np.concatenate(cosines), n)
    one, other = np.minimum(query + first, face), np.maximum(query + first, face)
    return np.stack([one, other, np.full(len(one), int(mirror))], axis=1)


def _most_alike(
    keys: NDArray[np.int64], cosines: NDArray[np.float32], n: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Each query's most alike faces, at most 8; a key is query * n + face and may be there several times."""
    order = np.lexsort((-cosines, keys))
    keys, unique = np.unique(keys[order], return_index=True)
    cosines = cosines[order][unique]
    query, face = np.divmod(keys, n)
    order = np.lexsort((-cosines, query))
    query, face = query[order], face[order]
    rank = np.arange(len(query)) - np.searchsorted(query, query)
    return query[rank < _PARTNERS], face[rank < _PARTNERS]


def _blur(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Every pixel the mean of the 3x3 around it; the outermost rows, never read, take in the neighbouring image."""
    tall = np.ascontiguousarray(images).reshape(-1, SIDE)
    return cast("NDArray[np.uint8]", cv2.blur(tall, (_CELL, _CELL)).reshape(-1, SIDE, SIDE))


def _cells(blurred: NDArray[np.uint8], right: int, down: int, mirror: bool) -> NDArray[np.float32]:
    """float32 (n, 196), each row of mean 0: 14x14 cells of 3x3 pixels around the middle, moved by some pixels."""
    top, left, length = _MARGIN + down, _MARGIN + right, _CELL * _CELLS
    cells = blurred[:, top : top + length : _CELL, left : left + length : _CELL]
    rows = (cells[:, :, ::-1] if mirror else cells).reshape(len(blurred), -1).astype(np.float32)
    rows -= rows.mean(1, keepdims=True)
    return rows


def _basis() -> NDArray[np.float32]:
    """float32 (196, 24): the lowest frequencies of a cosine transform of the cells but the mean, times the frequency.

    Amplitudes in photos fall about as 1 / frequency, so that all 24 then weigh about the same. The basis is fixed: one
    fitted to the faces would leave out what they share, and so miss the copies where a set is mostly copies.
    """
    steps = np.arange(_CELLS)
    waves = np.cos(np.pi * np.outer(steps, steps + 0.5) / _CELLS)  # (frequency, cell)
    pairs = [(down, right) for down in range(_CELLS) for right in range(_CELLS) if down + right]
    pairs = sorted(pairs, key=lambda pair: (np.hypot(*pair), pair))[:_COMPONENTS]
    columns = [np.hypot(*pair) * _unit(np.outer(waves[pair[0]], waves[pair[1]]).reshape(1, -1))[0] for pair in pairs]
    return np.stack(columns, axis=1).astype(np.float32)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)
    return unit
