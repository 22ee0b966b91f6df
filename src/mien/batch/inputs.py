"""What ``mien score`` takes as INPUT, cut into chunks without ever holding all of it."""

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

from mien.batch.chunks import Chunk, Shard, chunk_names, chunk_shards
from mien.batch.parquet_input import NAMES, name_column, read_names, read_shard
from mien.batch.storage import absolute, filesystem, is_folder, is_url, join, open_file, parent, walk
from mien.data.decoding import IMAGE_SUFFIXES
from mien.errors import DataError

Kind = Literal["folder", "shards", "list"]
PARQUET, TABLES, LISTS = (".parquet", ".pq"), {".csv": ",", ".tsv": "\t"}, (".txt", ".lst", ".list")


@dataclass(frozen=True)
class Collection:
    """An input, recognised.

    Attributes:
        name: as the user gave it.
        kind: images in a folder, parquet files of images, or a list of names.
        base: the folder or address that relative names lie below.
        is_folder: whether it is a folder: of images, or of parquet files.
        unread: the files of the folder that are not read, by suffix, once its chunks were given.
    """

    name: str
    kind: Kind
    base: str
    is_folder: bool = False
    unread: Counter[str] = field(default_factory=Counter, compare=False)

    def chunks(self, size: int) -> Iterator[Chunk]:
        """The chunks of ``size`` rows, the last of fewer, in the order of the input.

        Raises:
            DataError: where the input cannot be read on; the chunks before are good.
        """
        self.unread.clear()
        if self.kind == "shards":
            return chunk_shards(self._shards(), size)
        if self.kind == "folder":
            return chunk_names(self._files(IMAGE_SUFFIXES, PARQUET), size)
        tables = self._files(PARQUET, IMAGE_SUFFIXES)
        return chunk_names(_check_protocols(name for one in tables for name in _read_list(one)), size)

    def _shards(self) -> Iterator[Shard]:
        for name in self._files(PARQUET, IMAGE_SUFFIXES):
            shard = read_shard(join(self.base, name), name)
            if shard is None:
                raise DataError("it has no column image, as those before it have", name, "Name files of one kind.")
            yield shard

    def _files(self, suffixes: tuple[str, ...], others: tuple[str, ...]) -> Iterator[str]:
        for path in walk(self.name) if self.is_folder else [self.name]:
            if not self.is_folder or path.lower().endswith(suffixes):
                yield path
            elif path.lower().endswith(others):
                mend = "Name a folder that holds one kind, or a list of what is to be scored."
                raise DataError("this folder holds both images and parquet files", path, mend)
            else:
                self.unread[PurePath(path).suffix.lower() or "no suffix"] += 1


def open_collection(name: str) -> Collection:
    """Recognise an input: a folder, a parquet file, or a list.

    Args:
        name: a path or an address: a folder of images or of parquet files (what is found first, in the order of
            the names, says which), a parquet file with a column ``image`` of encoded images or ``uri`` or ``path`` of
            their names, a CSV or TSV file with such a column of names, or a text file with a name a line. Relative
            names in a list lie below the list's folder.

    Raises:
        DataError: where it is none of these, is not there or holds nothing.
        MissingExtraError: where a package that it needs is not installed.
    """
    here = name if is_url(name) else os.getcwd()  # noqa: PTH109
    found, folder, suffix = name, is_folder(name), PurePath(name).suffix.lower()
    if folder:
        found = next((one for one in walk(name) if one.lower().endswith((*IMAGE_SUFFIXES, *PARQUET))), "")
        if not found:
            raise DataError("neither an image nor a parquet file in this folder", name, "Name another.")
        if found.lower().endswith(IMAGE_SUFFIXES):
            return Collection(name, "folder", here, folder)
    elif suffix in TABLES or suffix in LISTS:
        return Collection(name, "list", parent(name))
    elif suffix not in PARQUET:
        mend = f"Lists end in {', '.join((*PARQUET, *TABLES, *LISTS))}; a single image is for mien predict."
        raise DataError("neither a folder nor a list of images", name, mend)
    if read_shard(found, found) is not None:
        return Collection(name, "shards", here, folder)
    return Collection(name, "list", absolute(name) if folder else parent(name), folder)


def _check_protocols(names: Iterable[str | None]) -> Iterator[str | None]:
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


def _read_list(name: str) -> Iterator[str | None]:
    suffix = PurePath(name).suffix.lower()
    if suffix in PARQUET:
        yield from read_names(name)
        return
    # Names of files need not be UTF-8.
    with open_file(name) as file, io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="") as text:
        if suffix in TABLES:
            yield from _read_table(text, name, TABLES[suffix])
        else:
            yield from filter(None, (line.strip("\r\n") for line in text))


def _read_table(text: Iterable[str], name: str, delimiter: str) -> Iterator[str | None]:
    reader = csv.DictReader(text, delimiter=delimiter)
    try:
        header = list(reader.fieldnames or ())
        column = name_column(header)
        if column is None:
            what = f"its first line names none of the columns {', '.join(NAMES)}; it has {', '.join(header) or 'none'}"
            raise DataError(what, name, "Name the column of names, or give a text file with a name a line.")
        yield from (row[column] for row in reader)
    except csv.Error as error:
        raise DataError(f"line {reader.line_num} is not CSV ({error})", name, "Mend or quote it.") from error
