"""What every reader shares: collecting faces block by block, and what happens to a bad row."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mien.data.faces import SIDE, UNLABELLED, USAGES, Faces, Usage
from mien.emotions import CONTEMPT, LABELS, LabelOrder, number_of
from mien.errors import BadRowError, DataError, printable

if TYPE_CHECKING:
    from mien.data.classes import Classes

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
_BLOCK = 1024
_LARGEST, _OBLONG = 512, 1.3
"""A side in pixels, and a side in units of the other one, above which an image is taken for a whole photo."""
_OTHERS = "--label-order raf-db (1 to 7) or affectnet (0 to 7); fer2013 (0 to 6) confirms FER2013's"
_AS_CLASS = "--label-order affectnet-8 makes it a class of its own"

Progress = Callable[[int, int, str], None]
"""Called as a cold load goes on, with what is done, the total, and what is counted: ``"bytes"`` or ``"faces"``."""


@lru_cache(maxsize=256)
def usage_from_word(word: str) -> int:
    """The split that a word means, as an index into ``USAGES``; ``validation`` is FER2013's public test.

    Raises:
        ValueError: where the word is of no split.
    """
    usage = _SPLIT_WORDS.get(re.sub(r"[^a-z]", "", word.lower()))
    if usage is None:
        raise ValueError(f"{word.strip()!r} is no split ({', '.join(Usage)})")
    return USAGES.index(usage)


def first_usage(words: Iterable[str]) -> int | None:
    """The split that the first of the words means that means one; None where none does."""
    for word in words:
        try:
            return usage_from_word(word)
        except ValueError:
            continue
    return None


def is_emotion(word: str) -> bool:
    """Whether a word means one of the seven emotions."""
    try:
        LabelOrder.FER2013(word)
    except ValueError:
        return False
    return True


class ContemptError(ValueError):
    """A face of contempt, where that is no class: left out and counted, not bad."""


class UnclearOrderError(ValueError):
    """A number that only other data sets' orders have, where no order was given."""


class Builder:
    """Collects the faces of one source.

    Args:
        root: the file or folder that is read; paths in the list of skipped rows are relative to it.
        skip_bad: note bad rows and go on, instead of raising at the first.
        progress: called as the reading goes on.
        order: whose numbers the labels are; None for FER2013's, to be noted unless the layout is its own.
        take: gets each block of faces as soon as it is read; without it :meth:`build` returns all of them.

    Attributes:
        classes: classes of one's own, which a reader sets before it adds faces; None for the seven emotions.
        hint: what a reader adds to the error of an unknown label.
    """

    def __init__(
        self,
        root: Path,
        skip_bad: bool = False,
        progress: Progress | None = None,
        order: LabelOrder | None = None,
        take: Callable[[Faces], None] | None = None,
    ) -> None:
        self.root, self.skip_bad, self.progress, self.order, self.take = root, skip_bad, progress, order, take
        self.classes: Classes | None = None
        self.hint = ""
        self.is_fer2013 = False
        self.rows = 0
        self.skipped: list[str] = []
        self.resized: list[str] = []
        self._meanings: dict[tuple[str, int], int] = {}
        self._contempt = 0
        self._photos: list[str] = []
        self._pending: list[tuple[NDArray[np.uint8], int, int, int, NDArray[np.uint8] | None]] = []
        self._images = np.empty((0, SIDE, SIDE), np.uint8)  # longer than what it holds, the labels' number
        self._emotion: list[int] = []
        self._usage: list[int] = []
        self._row: list[int] = []
        self._votes: list[NDArray[np.uint8]] = []

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the classes, index by index."""
        return self.classes.names if self.classes else self.order.labels if self.order else LABELS

    def append(
        self, image: NDArray[np.uint8], emotion: int, usage: int, row: int, votes: NDArray[np.uint8] | None = None
    ) -> None:
        """Append one face, uint8 (48, 48) or (2304,); votes, uint8 (10,), for all faces up to a flush or for none."""
        self._pending.append((image, emotion, usage, row, votes))
        if len(self._pending) == _BLOCK:
            self.flush()

    def flush(self) -> None:
        """Add the faces that were appended one by one."""
        if self._pending:
            images, emotion, usage, row, votes = zip(*self._pending, strict=True)
            self._pending = []
            self.add(np.stack(images), emotion, usage, row, None if votes[0] is None else np.stack(votes))

    def add(
        self,
        images: NDArray[np.uint8],
        emotion: Sequence[int],
        usage: Sequence[int],
        row: Sequence[int],
        votes: NDArray[np.uint8] | None = None,
    ) -> None:
        """Append a block: images uint8 (n, 48, 48), n labels, split indices and row numbers, votes uint8 (n, 10)."""
        self.flush()
        before, self.rows = self.rows, self.rows + len(row)
        images = images.reshape(-1, SIDE, SIDE)
        if self.take is not None:
            if self.labels != LABELS:
                mend = "Other classes are trained on from memory: leave --to shards away."
                raise DataError("shards hold the seven emotions, and these faces have other classes", self.root, mend)
            if len(row):
                self.take(_faces(images, emotion, usage, row, votes, self.root.name))
            return
        if self.rows > len(self._images):  # mostly in place: blocks put together at the end would be held twice
            self._images.resize((self.rows + self.rows // 8, SIDE, SIDE), refcheck=False)
        self._images[before : self.rows] = images
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
        if self.classes and word in self.classes:
            return self.classes.index(word)
        if number == -1 or word.strip().lower() in ("", "nan"):
            if usage == TRAINING:
                raise ValueError(f"a Training row has no label{self.hint}")
            return UNLABELLED
        if self.classes:
            return self.classes.index(word)
        if self.order is None and number == CONTEMPT and not self.is_fer2013:
            raise UnclearOrderError(f"{word!r} is none of the seven emotions, which FER2013 numbers 0 to 6")
        try:
            label = (self.order or LabelOrder.FER2013)(word)
        except ValueError as error:
            raise ValueError(f"{error}{self.hint}") from error
        if label >= len(self.labels):
            raise ContemptError
        return label

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided about the labels, and whether there are whole photos among the images, a line each."""
        lines = []
        numbered = any(number_of(word) is not None and label >= 0 for (word, _), label in self._meanings.items())
        if numbered and self.classes is None and self.order:
            lines.append(f"numbers are labels in the order {self.order}: {self.order.legend}")
        elif numbered and self.classes is None and not self.is_fer2013:
            lines.append(
                f"numbers are taken for labels in FER2013's order: {LabelOrder.FER2013.legend}; "
                f"AffectNet and RAF-DB have others: {_OTHERS}"
            )
        if self._contempt:
            lines.append(f"left out {self._contempt:,} faces of contempt; {_AS_CLASS}")
        if self._photos:
            lines.append(
                f"{len(self._photos):,} of {self.rows:,} images are far from square or large, as whole photos are, and "
                f"are squeezed to 48x48 (a side above {_LARGEST} pixels, or {_OBLONG} times the other; the first: "
                f"{self._photos[0]}); mien data crop PHOTOS OUT crops the faces of photos"
            )
        return tuple(lines)

    @contextmanager
    def checked(self, path: Path, row: str) -> Iterator[None]:
        """Report a ValueError of the block as a bad row, where ``row`` is the row's name in the file, if any.

        Raises:
            BadRowError: unless bad rows are skipped.
            DataError: where the row's label is a number of an order that was not given.
        """
        try:
            yield
        except ContemptError:
            self._contempt += 1
        except ValueError as error:
            where = f"{path}: {row}" if row else str(path)
            if isinstance(error, UnclearOrderError):
                raise DataError(str(error), where, f"Give the label order: {_OTHERS}.") from error
            if not self.skip_bad:
                mend = "Mend or remove it, or leave bad rows out with --skip-bad (skip_bad=True)."
                raise BadRowError(str(error), where, mend) from error
            self.skipped.append(self._line(path, row, str(error)))

    def note_size(self, path: Path, row: str, size: str | None) -> None:
        """Note that an image was not 48x48 but of another size (None: it was)."""
        if size is None:
            return
        self.resized.append(self._line(path, row, size))
        short, long = sorted(map(int, size.split("x")))
        if long > _LARGEST or long > _OBLONG * short:
            self._photos.append(self.resized[-1])

    def _line(self, path: Path, row: str, what: str) -> str:
        inside = path.relative_to(self.root) if path.is_relative_to(self.root) else path
        relative = path.name if path == self.root else inside.as_posix()
        return printable(": ".join(part for part in (relative, row, what) if part))

    def tick(self, done: int, total: int, unit: str) -> None:
        """Pass on how far the reading is."""
        if self.progress is not None:
            self.progress(done, total, unit)

    def finish(self) -> None:
        """Add what is pending.

        Raises:
            DataError: where there was no row at all, or no good one.
        """
        self.flush()
        if self.rows:
            return
        if not self.skipped:
            what = "it holds only faces of contempt" if self._contempt else "it holds no rows"
            raise DataError(what, self.root, "Fetch or write the data set again.")
        what = f"all of its {len(self.skipped):,} rows are bad, the first: {self.skipped[0]}"
        raise DataError(what, self.root, "Check that this is the right file.")

    def build(self, name: str) -> Faces:
        """The faces collected so far, as one set.

        Raises:
            DataError: as :meth:`finish`.
        """
        self.finish()
        votes = np.concatenate(self._votes) if self._votes else None
        votes = votes if votes is not None and len(votes) == self.rows else None
        images, self._images = self._images, np.empty((0, SIDE, SIDE), np.uint8)
        images.resize((self.rows, SIDE, SIDE), refcheck=False)
        return replace(
            _faces(images, self._emotion, self._usage, self._row, votes, name),
            labels=self.labels,
            skipped=tuple(self.skipped),
            resized=tuple(self.resized),
            notes=self.notes,
        )


def _faces(
    images: NDArray[np.uint8],
    emotion: Sequence[int],
    usage: Sequence[int],
    row: Sequence[int],
    votes: NDArray[np.uint8] | None,
    name: str,
) -> Faces:
    numbers = (np.array(emotion, np.int64), np.array(usage, np.uint8), np.array(row, np.int64))
    return Faces(images, *numbers, votes, name)
