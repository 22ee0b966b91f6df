"""What every reader shares: collecting faces block by block, and what happens to a bad row."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.data.faces import SIDE, UNLABELLED, USAGES, Faces, Usage
from mien.emotions import CONTEMPT, LABELS, LabelOrder, number_of
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


_OTHERS = "--label-order raf-db (1 to 7) or affectnet (0 to 7); fer2013 (0 to 6) confirms FER2013's"
_AS_CLASS = "--label-order affectnet-8 makes it a class of its own"

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


class ContemptError(ValueError):
    """A face of contempt, where that is no class: left out and counted, not bad."""


class UnclearOrderError(ValueError):
    """A number that only other data sets' orders have, where no order was named."""


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
        LabelOrder.FER2013(word)
    except ValueError:
        return False
    return True


class Builder:
    """Collects the faces of one source; a reader of other classes than the seven emotions names them in ``labels``.

    Args:
        root: the file or folder that the user named; paths in the list of skipped rows are relative to it.
        skip_bad: note bad rows and go on, instead of raising at the first.
        progress: told how far the reading is.
        order: whose numbers the labels are; None for FER2013's, to be noted unless the layout is its own.
    """

    def __init__(
        self,
        root: Path,
        skip_bad: bool = False,
        progress: Progress | None = None,
        order: LabelOrder | None = None,
    ) -> None:
        self.root = root
        self.skip_bad = skip_bad
        self.progress = progress
        self.skipped: list[str] = []
        self.resized: list[str] = []
        self.order = order
        self.is_fer2013 = False
        self.labels: tuple[str, ...] = order.labels if order else LABELS
        self._meanings: dict[tuple[str, int], int] = {}
        self._contempt = 0
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

    def label(self, word: str, usage: int) -> int:
        """The label that a word or number means; -1 for an empty word, ``nan`` or ``-1`` in a test split.

        Raises:
            ValueError: where it means no class, or a Training row has none.
        """
        label = self._meanings.get((word, usage))
        if label is None:
            label = self._meanings[word, usage] = self._meaning(word, usage)
        return label

    def _meaning(self, word: str, usage: int) -> int:
        number = number_of(word)
        if number == -1 or word.strip().lower() in ("", "nan"):
            if usage == TRAINING:
                raise ValueError("a Training row has no label")
            return UNLABELLED
        if self.order is None and number == CONTEMPT and not self.is_fer2013:
            raise UnclearOrderError(f"{word!r} is none of the seven emotions, which FER2013 numbers 0 to 6")
        label = (self.order or LabelOrder.FER2013)(word)
        if label >= len(self.labels):
            raise ContemptError
        return label

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided about the labels, a line each."""
        lines = []
        if any(number_of(word) is not None and label >= 0 for (word, _), label in self._meanings.items()):
            if self.order:
                lines.append(f"numbers are labels in the order {self.order}: {self.order.legend}")
            elif not self.is_fer2013:
                lines.append(
                    f"numbers are taken for labels in FER2013's order: {LabelOrder.FER2013.legend}; "
                    f"AffectNet and RAF-DB have others: {_OTHERS}"
                )
        if self._contempt:
            lines.append(f"left out {self._contempt:,} faces of contempt; {_AS_CLASS}")
        return tuple(lines)

    def bad(self, path: Path, place: str, what: str | ValueError) -> None:
        """Report a bad row, where ``place`` says which one of the file's rows it is (empty: the file itself).

        Raises:
            BadRowError: unless bad rows are skipped.
            DataError: where the row's label is a number of an order that was not named.
        """
        if isinstance(what, ContemptError):
            self._contempt += 1
            return
        where = f"{path}: {place}" if place else str(path)
        if isinstance(what, UnclearOrderError):
            raise DataError(str(what), where, f"Name whose numbers they are: {_OTHERS}.")
        what = str(what)
        if not self.skip_bad:
            raise BadRowError(what, where, "Mend or remove it, or leave bad rows out with --skip-bad (skip_bad=True).")
        self.skipped.append(self._line(path, place, what))

    def note_size(self, path: Path, place: str, size: str | None) -> None:
        """Note that an image was not 48x48 but of another size (None: it was)."""
        if size is not None:
            self.resized.append(self._line(path, place, size))

    def _line(self, path: Path, place: str, what: str) -> str:
        inside = path.relative_to(self.root) if path.is_relative_to(self.root) else path
        relative = path.name if path == self.root else inside.as_posix()
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
            notes=self.notes,
            resized=tuple(self.resized),
        )

    def _nothing(self) -> DataError:
        if not self.skipped:
            what = "it holds only faces of contempt" if self._contempt else "it holds no rows"
            return DataError(what, self.root, "Fetch or write the data set again.")
        what = f"all of its {len(self.skipped):,} rows are bad, the first: {self.skipped[0]}"
        return DataError(what, self.root, "Check that this is the right file.")


class StreamingBuilder(Builder):
    """Hands each block of faces on as soon as it is read, and keeps none.

    Args:
        root, skip_bad, progress, order: as for :class:`Builder`.
        take: gets the blocks.
    """

    def __init__(
        self,
        root: Path,
        take: Callable[[Faces], None],
        skip_bad: bool = False,
        progress: Progress | None = None,
        order: LabelOrder | None = None,
    ) -> None:
        super().__init__(root, skip_bad, progress, order)
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
