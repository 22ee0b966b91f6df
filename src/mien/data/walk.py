"""The files of a folder tree: regular ones only, each once, in the order of their paths."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from mien.data.decoding import IMAGE_SUFFIXES
from mien.errors import DataError

Selects = Callable[[str, str], bool]
"""Whether a file is read, from the name of its folder and its own."""
_CLUTTER = frozenset({"thumbs.db", "desktop.ini", "__macosx"})


def is_image(_folder: str, name: str) -> bool:
    """Whether a file has an image's suffix."""
    return name.lower().endswith(IMAGE_SUFFIXES)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is passed over: a hidden one, or one that operating systems leave."""
    return name.startswith(".") or name.lower() in _CLUTTER


def walk_files(root: str, selects: Selects = is_image, unread: Counter[str] | None = None) -> Iterator[str]:
    """Every file below a folder that is selected, by its path below ``root``, sorted.

    Hidden files and folders are left out. Links are followed, but each folder is read once, and so is each file: a
    link to a file that is found anyway is left out. Hard links are files of their own. A link that leads nowhere is
    yielded, so that reading it gives its error. In memory are one folder's names and those of the folders
    above it, and an entry a folder and a link.

    Args:
        root: the folder.
        selects: which files are yielded.
        unread: counts the others, by their suffixes.

    Raises:
        DataError: where a folder cannot be read.
    """
    return _Walk(root, selects, Counter() if unread is None else unread).files(root)


def describe_unread(unread: Counter[str]) -> str | None:
    """What a folder holds and is not read, such as ``not read: 3 files (.txt: 2, .mp4: 1)``; None where all is."""
    if not unread:
        return None
    total = sum(unread.values())
    kinds = ", ".join(f"{suffix}: {count:,}" for suffix, count in sorted(unread.items(), key=lambda item: -item[1])[:8])
    return f"not read: {total:,} file{'' if total == 1 else 's'} ({kinds})"


def no_images(folder: str | Path, unread: Counter[str], mend: str) -> DataError:
    """The error of a folder without images, which says what it holds instead."""
    return DataError("; ".join(filter(None, ("no image in this folder", describe_unread(unread)))), folder, mend)


class _Walk:
    """One walk: the folders that were read, and the files that links led to."""

    def __init__(self, root: str, selects: Selects, unread: Counter[str]) -> None:
        self.selects, self.unread = selects, unread
        self.roots = [os.path.realpath(root)]
        self.read: set[tuple[int, int]] = set()
        self.linked: set[tuple[int, int]] = set()

    def files(self, folder: str) -> Iterator[str]:
        waiting = [iter(self._entries(folder))]
        while waiting:
            path = next(waiting[-1], None)
            if path is None:
                waiting.pop()
            elif path.endswith("/"):
                waiting.append(iter(self._entries(path[:-1])))
            else:
                yield path

    def _entries(self, folder: str) -> list[str]:
        """The paths of what is read in a folder, sorted; those of folders with a slash behind them.

        With its slash a folder's name sorts as the names below it do among those of its neighbours.
        """
        try:
            if self._is_read(os.stat(folder)):  # noqa: PTH116
                return []
            with os.scandir(folder) as entries:
                shown = sorted((entry for entry in entries if not is_hidden(entry.name)), key=lambda entry: entry.name)
            found = [self._entry(entry, folder) for entry in shown]
        except OSError as error:
            raise DataError(f"this folder cannot be read ({error.strerror})", folder) from error
        return sorted(path for path in found if path)

    def _is_read(self, status: os.stat_result) -> bool:
        key = (status.st_dev, status.st_ino)
        known = key in self.read
        self.read.add(key)
        return known

    def _entry(self, entry: os.DirEntry[str], folder: str) -> str | None:
        kind = _kind(entry)
        if kind == "folder":
            if entry.is_symlink() and self._is_below(os.path.realpath(entry.path)):
                return None
            if entry.is_symlink():
                self.roots.append(os.path.realpath(entry.path))
            return f"{entry.path}/"
        if kind == "other":
            self.unread["no regular file"] += 1
        elif not self.selects(os.path.basename(folder), entry.name):  # noqa: PTH119
            self.unread[os.path.splitext(entry.name)[1].lower() or "no suffix"] += 1  # noqa: PTH122
        elif kind == "broken link" or not self._is_found_elsewhere(entry):
            return entry.path
        return None

    def _is_found_elsewhere(self, entry: os.DirEntry[str]) -> bool:
        if not entry.is_symlink():
            return bool(self.linked) and _key(entry) in self.linked
        target = os.path.realpath(entry.path)
        folder, name = os.path.split(target)
        if (self._is_below(target) and self.selects(os.path.basename(folder), name)) or _key(entry) in self.linked:  # noqa: PTH119
            return True
        self.linked.add(_key(entry))
        return False

    def _is_below(self, path: str) -> bool:
        """Whether a path's file or folder is found, or was, on the way through the folders that are read."""
        for root in self.roots:
            below = os.path.relpath(path, root) if path != root else ""
            if not any(part == ".." or is_hidden(part) for part in below.split("/") if part):
                return True
        return False


def _kind(entry: os.DirEntry[str]) -> Literal["file", "folder", "broken link", "other"]:
    try:
        if entry.is_symlink():
            entry.stat()
        return "folder" if entry.is_dir() else "file" if entry.is_file() else "other"
    except OSError:  # it leads nowhere, or to itself
        return "broken link"


def _key(entry: os.DirEntry[str]) -> tuple[int, int]:
    status = entry.stat()
    return status.st_dev, status.st_ino
