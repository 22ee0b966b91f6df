"""Faces: a labelled set of 48x48 gray faces in memory, and its splits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.emotions import FERPLUS_OF_EMOTION, LABELS
from mien.errors import DataError

SIDE = 48
"""Height and width of a face, in pixels."""

UNLABELLED = -1
"""The emotion of a face whose label is not known (Kaggle's test.csv)."""


class Usage(StrEnum):
    """The split of a face. ``TEST`` is a test face that is not known to be public or private."""

    TRAINING = "Training"
    PUBLIC_TEST = "PublicTest"
    PRIVATE_TEST = "PrivateTest"
    TEST = "test"


USAGES: tuple[Usage, ...] = tuple(Usage)
_ARRAYS = ("images", "emotion", "usage", "row")


@dataclass(frozen=True)
class Faces:
    """A set of faces, row for row.

    Attributes:
        images: uint8 (N, 48, 48), gray.
        emotion: int64 (N,), 0 to 6 in the order of :class:`mien.Emotion`, or a class of one's own, an index into
            ``labels``; -1 where the label is not known.
        usage: uint8 (N,), index into :data:`USAGES`.
        row: int64 (N,), the face's row number in its source, from 0.
        votes: uint8 (N, 10), FER+ votes in the order of :data:`mien.emotions.FERPLUS`, or None.
        name: the name of the set in tables and figures.
        labels: the classes' names, index by index.
        skipped: one line for each row that could not be read and was left out.
        resized: one line for each image that was resized: its path, and at the end the size it had, ``: 96x96``.
        notes: what was decided in reading, a line each, such as how splits were made.
    """

    images: NDArray[np.uint8]
    emotion: NDArray[np.int64]
    usage: NDArray[np.uint8]
    row: NDArray[np.int64]
    votes: NDArray[np.uint8] | None = None
    name: str = "faces"
    labels: tuple[str, ...] = LABELS
    skipped: tuple[str, ...] = field(default=(), compare=False)
    resized: tuple[str, ...] = field(default=(), compare=False)
    notes: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        n = len(self.images)
        if self.images.shape != (n, SIDE, SIDE) or self.images.dtype != np.uint8:
            raise ValueError(f"images must be uint8 (N, 48, 48), not {self.images.dtype} {self.images.shape}")
        if not len(self.emotion) == len(self.usage) == len(self.row) == n:
            raise ValueError("images, emotion, usage and row must have the same length")
        if self.votes is not None and self.votes.shape != (n, 10):
            raise ValueError(f"votes must have the shape ({n}, 10), not {self.votes.shape}")

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        parts = ", ".join(f"{name} {count:,}" for name, count in self.splits().items())
        return f"Faces({self.name!r}, {len(self):,} faces: {parts})"

    def take(self, index: NDArray[np.bool_] | NDArray[np.int64] | slice) -> Faces:
        """The faces at these rows (a mask, numbers or a slice), in that order."""
        arrays: dict[str, Any] = {name: getattr(self, name)[index] for name in _ARRAYS}
        return replace(self, **arrays, votes=None if self.votes is None else self.votes[index])

    def select(self, split: str) -> Faces:
        """The faces of one split.

        Args:
            split: ``Training``, ``PublicTest``, ``PrivateTest``, or ``test`` for all that is not Training.

        Raises:
            DataError: where there is no such split, or no face in it.
        """
        if split not in list(Usage):
            raise DataError(f"there is no split {split!r}", self.name, f"Choose one of {', '.join(Usage)}.")
        training = USAGES.index(Usage.TRAINING)
        mask = self.usage != training if split == Usage.TEST else self.usage == USAGES.index(Usage(split))
        if not mask.any():
            have = ", ".join(self.splits()) or "none at all"
            mend = f"It has {have}; mien data split makes what is missing."
            raise DataError(f"no faces in the split {split}", self.name, mend)
        return self.take(_as_slice(mask))

    def splits(self) -> dict[str, int]:
        """How many faces each split has; splits without faces are left out."""
        counts = np.bincount(self.usage, minlength=len(USAGES))
        return {str(usage): int(count) for usage, count in zip(USAGES, counts, strict=True) if count}

    def label_counts(self, split: str | None = None) -> dict[str, int]:
        """How many faces each class has, in the order of the classes; unlabelled faces are not counted.

        Raises:
            DataError: as :meth:`select`, for one ``split``.
        """
        if split is not None:
            return self.select(split).label_counts()
        counts = np.bincount(self.emotion[self.emotion >= 0], minlength=len(self.labels))
        return {label: int(count) for label, count in zip(self.labels, counts, strict=True)}

    def vote_shares(self) -> NDArray[np.float32]:
        """float32 (N, 7): the part of each face's FER+ votes that each of the seven emotions got; 0 without votes.

        What went to contempt, to unknown and to "not a face" is missing from the row's sum.

        Raises:
            DataError: where the set has no votes, or its classes are not the seven emotions.
        """
        if self.votes is None:
            raise DataError("it has no FER+ votes", self.name, "Use data that carry them, or leave the votes out.")
        if self.labels != LABELS:
            raise DataError("FER+ votes are for the seven emotions", self.name, f"Its classes: {self.labels}.")
        totals = self.votes.sum(1, keepdims=True)
        ours = self.votes[:, FERPLUS_OF_EMOTION]
        shares = np.zeros(ours.shape, np.float32)
        np.divide(ours, totals, out=shares, where=totals > 0)
        return shares

    def majority(self) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The majority's label: the emotion with the most FER+ votes, int64 (N,); whether it got over half, bool (N,).

        Raises:
            DataError: as :meth:`vote_shares`.
        """
        shares = self.vote_shares()
        return shares.argmax(1), shares.max(1) > 0.5

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 (hex) of pixels, labels and splits in their order: equal for equal data, whatever the layout.

        The names of classes of one's own count, too.
        """
        digest = hashlib.sha256(b"" if self.labels == LABELS else repr(self.labels).encode())
        for array in (self.images, self.emotion, self.usage):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()

    def clean(self, training: Faces) -> NDArray[np.bool_]:
        """bool (N,): True where the face's pixels do not occur in ``training``."""
        known = set(pixel_keys(training.images))
        return np.array([key not in known for key in pixel_keys(self.images)], dtype=bool)


def _as_slice(mask: NDArray[np.bool_]) -> NDArray[np.bool_] | slice:
    """The same rows as a slice where they lie together, as FER2013's splits do: nothing is copied then."""
    first, last = int(mask.argmax()), len(mask) - int(mask[::-1].argmax())
    return slice(first, last) if mask[first:last].all() else mask


def pixel_keys(images: NDArray[np.uint8]) -> list[bytes]:
    """The SHA-256 of each image's pixels, uint8 (N, 48, 48): equal for equal pixels, and a 70th of their size."""
    return [hashlib.sha256(image.data).digest() for image in np.ascontiguousarray(images)]


def join(parts: Sequence[Faces], name: str) -> Faces:
    """Put sets one after another; votes stay only where every part has them."""
    names = [*_ARRAYS, "votes"] if all(part.votes is not None for part in parts) else _ARRAYS
    arrays: dict[str, Any] = {one: np.concatenate([getattr(part, one) for part in parts]) for one in names}
    lines = ("skipped", "resized", "notes")
    arrays |= {line: tuple(chain.from_iterable(getattr(part, line) for part in parts)) for line in lines}
    return Faces(**arrays, name=name, labels=parts[0].labels)
