"""Classes of one's own: how they are found in a data set, their order, and which names they may have."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mien.data.builder import first_usage, is_emotion
from mien.emotions import LABELS
from mien.errors import DataError

CLASSES_FILE = "classes.txt"
"""A file beside a folder's classes or splits: one class a line, in the order that the model's answers get."""
LONGEST = 60
"""How many characters a class's name may have: tables and figures are laid out for such."""
RESERVED = frozenset(
    {
        *("box_height", "box_width", "confidence", "detection", "emotion", "error", "face", "faces", "frame", "height"),
        *("processed", "path", "predicted", "real", "row", "time", "track", "uncertain", "usage", "width", "wrong"),
        *("x", "y"),
    }
)
"""The other columns in the tables of predictions, and the prediction ``uncertain``."""
HINT = f"for classes of your own, write their names into {CLASSES_FILE} in that folder, one a line"
_MEND = "Rename it."


def class_key(word: str) -> str:
    """What two spellings of a class's name share: file systems differ in case and in how they write accents."""
    return unicodedata.normalize("NFC", word).strip().casefold()


@dataclass(frozen=True)
class Classes:
    """The classes of a data set of one's own, in their order; at least two, no two the same.

    Raises:
        DataError: where there are fewer, two have the same name, or a name cannot be used.
    """

    names: tuple[str, ...]
    where: Path

    def __post_init__(self) -> None:
        for name in self.names:
            _check_name(name, self.where)
        if len({class_key(name) for name in self.names}) < len(self.names):
            raise DataError("two classes have the same name", self.where, "Name each class once.")
        if len(self.names) < 2:
            raise DataError(f"it names {len(self.names)} class, and a model needs two", self.where, "Add another.")

    def __contains__(self, word: str) -> bool:
        return class_key(word) in map(class_key, self.names)

    def index(self, word: str) -> int:
        """The index of a class, from 0.

        Raises:
            ValueError: where the word is none of them.
        """
        if word not in self:
            raise ValueError(f"{word!r} is none of the classes ({', '.join(self.names)})")
        return [class_key(name) for name in self.names].index(class_key(word))


def _check_name(name: str, where: Path) -> None:
    if class_key(name) in RESERVED:
        raise DataError(f"a class cannot be called {name!r}, which mien's tables call something else", where, _MEND)
    if first_usage([name]) is not None:
        raise DataError(f"a class cannot be called {name!r}, which is a split", where, _MEND)
    if not name.strip() or not name.isprintable() or len(name) > LONGEST or name.startswith("."):
        what = f"a class's name has at most {LONGEST} printable characters, the first no dot, not {name[:80]!r}"
        raise DataError(what, where, _MEND)


def folder_classes(root: Path, words: Iterable[str]) -> Classes | None:
    """The classes that a folder of images has, or None where they are the seven emotions.

    Those of its ``classes.txt`` in that order; without one the names of its folders in alphabetical order, unless one
    of them means an emotion, or there is only one.

    Args:
        root: the folder of the splits or classes.
        words: the names of the folders that hold the images.

    Raises:
        DataError: where the file cannot be read, or the names cannot be used.
    """
    listed = _listed(root / CLASSES_FILE)
    if listed is not None:
        return Classes(tuple(listed), root / CLASSES_FILE)
    spelled: dict[str, str] = {}
    for word in sorted(unicodedata.normalize("NFC", word).strip() for word in words):
        spelled.setdefault(class_key(word), word)
    if any(map(is_emotion, spelled)) or all(first_usage([key]) is not None for key in spelled) or len(spelled) < 2:
        return None
    return Classes(tuple(spelled[key] for key in sorted(spelled)), root)


def _listed(path: Path) -> list[str] | None:
    if not path.is_file():
        return None
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise DataError("it is not text in UTF-8", path, "Write one class a line.") from error
    return [unicodedata.normalize("NFC", line).strip() for line in lines if line.strip()]


def table_classes(names: Sequence[str] | None, own: bool, where: Path) -> Classes | None:
    """The classes in a parquet file's metadata, or None where they are the seven emotions or there are none.

    Args:
        names: those in its metadata.
        own: whether mien wrote them there, so that they are taken literally.
        where: the file.

    Raises:
        DataError: where the names cannot be used.
    """
    if names is None or tuple(names) == LABELS or not (own or not any(map(is_emotion, names))):
        return None
    return Classes(tuple(names), where)
