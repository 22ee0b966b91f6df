"""What ``mien score`` takes as INPUT, cut into parts without ever holding all of it."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Literal

from mien.batch.chunks import Part, Shard, cut_names, cut_shards
from mien.batch.parquet_input import NAMES, image_column, name_column, read_names, shard
from mien.batch.storage import absolute, filesystem, is_folder, is_url, joined, opened, parent, walk
from mien.data.decoding import IMAGE_SUFFIXES
from mien.errors import DataError

Kind = Literal["folder", "shards", "list"]
PARQUET, TABLES, LISTS = (".parquet", ".pq"), {".csv": ",", ".tsv": "\t"}, (".txt", ".lst", ".list")


@dataclass(frozen=True)
class Collection:
    """An input, recognised.

    Attributes:
        name: as the user named it.
        kind: pictures in a folder, parquet files of images, or a list of names.
        base: the folder or address that relative names lie below.
        tables: whether it is a folder of parquet files.
        unread: what the folder holds and is not read, by the ends of the names, once its parts were given.
    """

    name: str
    kind: Kind
    base: str
    tables: bool = False
    unread: Counter[str] = field(default_factory=Counter, compare=False)

    def parts(self, size: int) -> Iterator[Part]:
        """The parts of ``size`` rows, the last of fewer, in the order of the input.

        Raises:
            DataError: where the input cannot be read on; the parts before are good.
        """
        self.unread.clear()
        return cut_shards(self._shards(), size) if self.kind == "shards" else cut_names(self._names(), size)

    def _names(self) -> Iterator[str | None]:
        if self.kind == "folder":
            return _only(self.name, IMAGE_SUFFIXES, PARQUET, self.unread)
        return _reachable(name for one in self._files() for name in _listed(one))

    def _files(self) -> Iterable[str]:
        return _only(self.name, PARQUET, IMAGE_SUFFIXES, self.unread) if self.tables else [self.name]

    def _shards(self) -> Iterator[Shard]:
        for name in self._files():
            place = joined(self.base, name)
            if not image_column(place):
                raise DataError("it has no column image, as those before it have", name, "Name files of one kind.")
            yield shard(place, name)


def open_collection(name: str) -> Collection:
    """Recognise an input: a folder, a parquet file, or a list.

    Args:
        name: a path or an address: a folder of pictures or of parquet files (what is found first, in the order of
            the names, says which), a parquet file with a column ``image`` of encoded images or ``uri`` or ``path`` of
            their names, a CSV or TSV file with such a column of names, or a text file with a name a line. Relative
            names in a list lie below the list's folder.

    Raises:
        DataError: where it is none of these, is not there or holds nothing.
        MissingExtraError: where a package that it needs is not installed.
    """
    if is_folder(name):
        return _folder(name)
    suffix = PurePath(name).suffix.lower()
    if suffix in PARQUET:
        return _table(name, name, tables=False)
    if suffix in TABLES or suffix in LISTS:
        return Collection(name, "list", parent(name))
    mend = f"Lists end in {', '.join((*PARQUET, *TABLES, *LISTS))}; a single picture is for mien predict."
    raise DataError("neither a folder nor a list of pictures", name, mend)


def _folder(name: str) -> Collection:
    first = next((one for one in walk(name) if one.lower().endswith((*IMAGE_SUFFIXES, *PARQUET))), None)
    if first is None:
        raise DataError("neither a picture nor a parquet file in this folder", name, "Name another.")
    if first.lower().endswith(PARQUET):
        return _table(name, first, tables=True)
    return Collection(name, "folder", _here(name))


def _table(name: str, first: str, tables: bool) -> Collection:
    if image_column(first):
        return Collection(name, "shards", _here(name), tables)
    return Collection(name, "list", absolute(name) if tables else parent(name), tables)


def _here(name: str) -> str:
    """What the names that are found in a folder are relative to."""
    return name if is_url(name) else os.getcwd()  # noqa: PTH109


def _only(folder: str, wanted: tuple[str, ...], others: tuple[str, ...], unread: Counter[str]) -> Iterator[str]:
    for path in walk(folder):
        if path.lower().endswith(wanted):
            yield path
        elif path.lower().endswith(others):
            mend = "Name a folder that holds one kind, or a list of what is to be scored."
            raise DataError("this folder holds both images and parquet files", path, mend)
        else:
            unread[PurePath(path).suffix.lower() or "no suffix"] += 1


def _reachable(names: Iterable[str | None]) -> Iterator[str | None]:
    """The same names, once it is sure that what reads their kind of address is installed.

    An address of no known kind is one row's error; a missing package is every row's.
    """
    known = {"http", "https"}
    for name in names:
        protocol = name.partition("://")[0] if name and is_url(name) else "http"
        if name and protocol not in known:
            known.add(protocol)
            with suppress(DataError):
                filesystem(name)
        yield name


def _listed(name: str) -> Iterator[str | None]:
    suffix = PurePath(name).suffix.lower()
    if suffix in PARQUET:
        yield from read_names(name)
        return
    # Names of files need not be UTF-8.
    with opened(name) as file, io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="") as text:
        yield from _cells(text, name, TABLES[suffix]) if suffix in TABLES else _lines(text)


def _lines(text: Iterable[str]) -> Iterator[str]:
    for line in text:
        if name := line.strip("\r\n"):
            yield name


def _cells(text: Iterable[str], name: str, delimiter: str) -> Iterator[str | None]:
    reader = csv.reader(text, delimiter=delimiter)
    try:
        header = next(reader, [])
        column = name_column(header)
        if column is None:
            what = f"its first line names none of the columns {', '.join(NAMES)}; it has {', '.join(header) or 'none'}"
            raise DataError(what, name, "Name the column of names, or give a text file with a name a line.")
        place = header.index(column)
        for row in reader:
            if row:
                yield row[place] if place < len(row) else None
    except csv.Error as error:
        raise DataError(f"line {reader.line_num} is not CSV ({error})", name, "Mend or quote it.") from error
