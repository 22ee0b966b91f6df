"""What every reader shares: collecting faces block by block, and what happens to a bad row."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.data.faces import SIDE, UNLABELLED, USAGES, Faces, Usage
from mien.emotions import LABELS, Emotion
from mien.errors import BadRowError, DataError, printable

TRAINING = USAGES.index(Usage.TRAINING)
"""The index of Training in :data:`mien.data.faces.USAGES`."""

_SPLIT_WORDS = {
    "train": Usage.TRAINING,
    "training": Usage.TRAINING,
    "publictest": Usage.PUBLIC_TEST,
    "validation": Usage.PUBLIC_TEST,
    "valid": Usage.PUBLIC_TEST,
    "val": Usage.PUBLIC_TEST,
    "privatetest": Usage.PRIVATE_TEST,
    "test": Usage.TEST,
    "testing": Usage.TEST,
}


Progress = Callable[[int, int, str], None]
"""Called as a cold load goes on, with what is done, the total, and what is counted: ``"bytes"`` or ``"faces"``."""


@lru_cache(maxsize=256)
def usage_from_word(word: str) -> int:
    """The split that a word means, as an index into ``USAGES``; ``validation`` is FER2013's public test.

    Raises:
        ValueError: where the word names no split.
    """
    usage = _SPLIT_WORDS.get(re.sub(r"[^a-z]", "", word.lower()))
    if usage is None:
        raise ValueError(f"{word.strip()!r} names no split ({', '.join(Usage)})")
    return USAGES.index(usage)


@lru_cache(maxsize=256)
def label_from_word(word: str, usage: int) -> int:
    """The label that a word or number means, 0 to 6; -1 for an empty word or ``-1`` in a test split.

    Raises:
        ValueError: where the word names no emotion, or a Training row has none.
    """
    if word.strip() in ("", "-1"):
        if usage == TRAINING:
            raise ValueError("a Training row has no label")
        return UNLABELLED
    return int(Emotion.from_word(word))


def is_split(word: str) -> bool:
    """Whether a word means a split."""
    try:
        usage_from_word(word)
    except ValueError:
        return False
    return True


def is_emotion(word: str) -> bool:
    """Whether a word means one of the seven emotions."""
    try:
        label_from_word(word, TRAINING)
    except ValueError:
        return False
    return True


class Builder:
    """Collects the faces of one source; a reader of other classes than the seven emotions names them in ``labels``.

    Args:
        root: the file or folder that the user named; paths in the list of skipped rows are relative to it.
        skip_bad: note bad rows and go on, instead of raising at the first.
        progress: told how far the reading is.
    """

    def __init__(self, root: Path, skip_bad: bool = False, progress: Progress | None = None) -> None:
        self.root = root
        self.skip_bad = skip_bad
        self.progress = progress
        self.skipped: list[str] = []
        self.resized: list[str] = []
        self.labels: tuple[str, ...] = LABELS
        self._images = np.empty((0, SIDE, SIDE), np.uint8)  # longer than what it holds, the labels' number
        self._emotion: list[int] = []
        self._usage: list[int] = []
        self._row: list[int] = []
        self._votes: list[NDArray[np.uint8]] = []

    def add(
        self,
        images: NDArray[np.uint8],
        emotion: list[int],
        usage: list[int],
        row: list[int],
        votes: NDArray[np.uint8] | None = None,
    ) -> None:
        """Append a block: images uint8 (n, 48, 48), n labels, split indices and row numbers, votes uint8 (n, 10)."""
        held, wanted = len(self._emotion), len(self._emotion) + len(images)
        if wanted > len(self._images):  # mostly in place: blocks put together at the end would be held twice
            self._images.resize((wanted + wanted // 8, SIDE, SIDE), refcheck=False)
        self._images[held:wanted] = images.reshape(-1, SIDE, SIDE)
        self._emotion += emotion
        self._usage += usage
        self._row += row
        if votes is not None:
            self._votes.append(votes)

    def bad(self, path: Path, place: str, what: str) -> None:
        """Report a bad row, where ``place`` says which one of the file's rows it is (empty: the file itself).

        Raises:
            BadRowError: unless bad rows are skipped.
        """
        if not self.skip_bad:
            where = f"{path}: {place}" if place else str(path)
            raise BadRowError(what, where, "Mend or remove it, or leave bad rows out with --skip-bad (skip_bad=True).")
        self.skipped.append(self._line(path, place, what))

    def note_size(self, path: Path, place: str, size: str | None) -> None:
        """Note that an image was not 48x48 but of another size (None: it was)."""
        if size is not None:
            self.resized.append(self._line(path, place, size))

    def _line(self, path: Path, place: str, what: str) -> str:
        relative = path.name if path == self.root else path.relative_to(self.root).as_posix()
        return printable(": ".join(part for part in (relative, place, what) if part))

    def tick(self, done: int, total: int, unit: str) -> None:
        """Pass on how far the reading is."""
        if self.progress is not None:
            self.progress(done, total, unit)

    def build(self, name: str) -> Faces:
        """The faces collected so far, as one set.

        Raises:
            DataError: where there is no row at all, or no good one.
        """
        if not self._row:
            raise self._nothing()
        votes = np.concatenate(self._votes) if self._votes else None
        images, self._images = self._images, np.empty((0, SIDE, SIDE), np.uint8)
        images.resize((len(self._row), SIDE, SIDE), refcheck=False)
        return Faces(
            images=images,
            emotion=np.array(self._emotion, dtype=np.int64),
            usage=np.array(self._usage, dtype=np.uint8),
            row=np.array(self._row, dtype=np.int64),
            votes=votes if votes is not None and len(votes) == len(self._row) else None,
            name=name,
            labels=self.labels,
            skipped=tuple(self.skipped),
            resized=tuple(self.resized),
        )

    def _nothing(self) -> DataError:
        if not self.skipped:
            return DataError("it holds no rows", self.root, "Fetch or write the data set again.")
        what = f"all of its {len(self.skipped):,} rows are bad, the first: {self.skipped[0]}"
        return DataError(what, self.root, "Check that this is the right file.")


class StreamingBuilder(Builder):
    """Hands each block of faces on as soon as it is read, and keeps none.

    Args:
        root, skip_bad, progress: as for :class:`Builder`.
        take: gets the blocks.
    """

    def __init__(
        self, root: Path, take: Callable[[Faces], None], skip_bad: bool = False, progress: Progress | None = None
    ) -> None:
        super().__init__(root, skip_bad, progress)
        self.take = take
        self.rows = 0

    def add(
        self,
        images: NDArray[np.uint8],
        emotion: list[int],
        usage: list[int],
        row: list[int],
        votes: NDArray[np.uint8] | None = None,
    ) -> None:
        """Pass a block on, in the form of :meth:`Builder.add`."""
        if not row:
            return
        if self.labels != LABELS:
            mend = "Other classes are trained on from memory: leave --to shards away."
            raise DataError("shards hold the seven emotions, and these faces have other classes", self.root, mend)
        self.rows += len(row)
        labels, splits = np.array(emotion, dtype=np.int64), np.array(usage, dtype=np.uint8)
        numbers = np.array(row, dtype=np.int64)
        self.take(Faces(images.reshape(-1, SIDE, SIDE), labels, splits, numbers, votes, self.root.name))

    def finish(self) -> None:
        """Say so where nothing came.

        Raises:
            DataError: where there was no row at all, or no good one.
        """
        if not self.rows:
            raise self._nothing()
