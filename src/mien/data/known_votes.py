"""The FER+ votes that come with the package, found by a face's pixels: FER2013 has them in any layout."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien._utils.assets import FERPLUS_VOTES, read_asset
from mien.data.faces import Faces, pixel_keys
from mien.emotions import LABELS

IN_ORDER = 0.9
"""The part of a set's faces that must be at their rows of Kaggle's file for the set to be in Kaggle's order."""


class KnownVotes(NamedTuple):
    """The votes of all faces of FER2013, in the order of Kaggle's file.

    ``key`` uint64 (M,): 64 bits of the pixels' SHA-256; ``exact`` bool (M,): whether the key is that of Kaggle's own
    pixels, not of a copy's; ``votes`` uint8 (M, 10), in the order of :data:`mien.emotions.FERPLUS`.
    """

    key: NDArray[np.uint64]
    exact: NDArray[np.bool_]
    votes: NDArray[np.uint8]


def known_votes() -> KnownVotes:
    """The votes of the package.

    Raises:
        AssetError: where their file is damaged.
    """
    with np.load(io.BytesIO(read_asset(FERPLUS_VOTES)), allow_pickle=False) as arrays:
        return KnownVotes(*(arrays[name] for name in KnownVotes._fields))


def face_keys(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """uint64 (N,): 64 bits of the SHA-256 of each image's pixels, uint8 (N, 48, 48)."""
    return np.frombuffer(b"".join(key[:8] for key in pixel_keys(images)), "<u8").astype(np.uint64)


def look_up_votes(faces: Faces, known: KnownVotes) -> NDArray[np.uint8]:
    """The votes of each face, uint8 (N, 10); zeros where they are not known.

    A face has the votes of its row in Kaggle's file where its pixels are those of that row; else those of the row with
    its pixels, unless it is blank, as other sets have blanks, too; of several such rows, the mean, rounded. Of a few
    rows no lossless copy was to be had: in a set in Kaggle's order, their faces have the votes of their rows whatever
    the pixels.
    """
    keys = face_keys(faces.images)
    found = _by_pixels(keys, known)
    found[faces.images.min((1, 2)) == faces.images.max((1, 2))] = 0
    inside = (faces.row >= 0) & (faces.row < len(known.key))
    row = np.where(inside, faces.row, 0)
    at_row = inside & (known.key[row] == keys)
    if at_row.mean() >= IN_ORDER:
        at_row |= inside & ~known.exact[row]
    found[at_row] = known.votes[row[at_row]]
    return found


def _by_pixels(keys: NDArray[np.uint64], known: KnownVotes) -> NDArray[np.uint8]:
    unique, group, size = np.unique(known.key, return_inverse=True, return_counts=True)
    total = np.zeros((len(unique), known.votes.shape[1]))
    np.add.at(total, group, known.votes)
    place = np.searchsorted(unique, keys).clip(max=len(unique) - 1)
    same = unique[place] == keys
    return np.where(same[:, None], np.rint(total / size[:, None])[place], 0).astype(np.uint8)


def with_known_votes(faces: Faces) -> Faces:
    """The faces with the FER+ votes that the package knows, and a note on how many; as they are where it knows none.

    Faces with votes of their own, or of other classes than the seven emotions, stay as they are.
    """
    if faces.votes is not None or faces.labels != LABELS:
        return faces
    votes = look_up_votes(faces, known_votes())
    known = int(votes.any(1).sum())
    if not known:
        return faces
    note = f"FER+ votes: known for {known:,} of {len(faces):,} faces by their pixels"
    return replace(faces, votes=votes, notes=(*faces.notes, note))


def vote_adder() -> Callable[[Faces], Faces]:
    """What adds the known votes to the blocks of one set, one after another: to all of them, or to none.

    The first block decides, as a set in shards has votes throughout or not at all.
    """
    known: KnownVotes | None = None
    decided: bool | None = None

    def add(block: Faces) -> Faces:
        nonlocal known, decided
        if block.votes is not None or decided is False:
            return block
        known = known or known_votes()
        votes = look_up_votes(block, known)
        decided = bool(votes.any()) if decided is None else decided
        return replace(block, votes=votes) if decided else block

    return add
