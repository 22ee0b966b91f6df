"""Parquet files as input: images in a column, or the names of images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from mien.batch.chunks import Segment, Shard
from mien.batch.storage import open_file
from mien.errors import DataError, require

IMAGE = "image"
"""The column of encoded images."""
NAMES = ("uri", "url", "path", "file", "filename", "file_name")
"""Columns of names, the first that is there counts."""
_BATCH = 256

Row = tuple[str, bytes | None]
"""A row's name and its encoded image; None where it has none."""


def read_shard(path: str, name: str) -> Shard | None:
    """Describe a parquet file of images; None where it holds names of images, a DataError where neither."""
    with open_file(path) as file, _parquet(file, name) as table:
        schema = table.schema_arrow
        # Bytes, or the structs of bytes and path that Hugging Face writes.
        if IMAGE not in schema.names or "binary" not in str(schema.field(IMAGE).type):
            if name_column(schema.names) is not None:
                return None
            what = f"it has neither a column image (encoded bytes) nor uri or path; it has {', '.join(schema.names)}"
            raise DataError(what, path, "Rename the column that holds the images or their names.")
        file.seek(-8, 2)
        length = int.from_bytes(file.read(4), "little")
        file.seek(-8 - length, 2)
        return Shard(path, name, int(table.metadata.num_rows), hashlib.sha256(file.read(length)).hexdigest())


def name_column(columns: list[str]) -> str | None:
    """The column that holds names, whatever its case; None where none does."""
    lower = {column.strip().lower(): column for column in reversed(columns)}
    return next((lower[name] for name in NAMES if name in lower), None)


def read_names(path: str) -> Iterator[str | None]:
    """The names in a parquet file's column of names, a few at a time; a DataError where the file is damaged."""
    with open_file(path) as file, _parquet(file, path) as table:
        column = name_column(table.schema_arrow.names)
        if column is None:
            raise DataError("it has no column uri or path", path, "Name files of one kind.")
        for batch in table.iter_batches(_BATCH * 16, columns=[column], use_threads=False):
            yield from batch.column(0).cast(require("pyarrow", "score").string()).to_pylist()


class Cursor:
    """Reads rows of shards; those that follow the last ones are read on from there.

    pyarrow cannot start in the middle of a row group, which may hold a million rows; so the cursor stays where it is,
    and a worker whose chunks come in order reads every row group at most once.
    """

    def __init__(self) -> None:
        self._shard: Shard | None = None
        self._next = 0
        self._rows: Iterator[tuple[int, Row]] = iter(())

    def read(self, segment: Segment) -> Iterator[Row]:
        """The rows of a segment, in order.

        Raises:
            DataError: where the file is damaged or has changed; rows that came before it are good.
        """
        if self._shard != segment.shard or segment.start < self._next:
            self._shard, self._rows = segment.shard, _rows_from(segment.shard, segment.start)
        self._next = segment.start + segment.rows
        try:
            for number, row in self._rows:
                if number >= segment.start:
                    yield row
                if number + 1 == self._next:
                    return
            raise DataError("it has fewer rows than when the job was planned", mend="Leave the input as it is.")
        except DataError:
            self._shard = None
            raise


def _rows_from(shard: Shard, start: int) -> Iterator[tuple[int, Row]]:
    """The numbered rows of a shard from the row group on that holds row ``start``."""
    with open_file(shard.path) as file, _parquet(file, shard.name) as table:
        first, group = 0, 0
        while group < table.num_row_groups and first + (rows := table.metadata.row_group(group).num_rows) <= start:
            first, group = first + rows, group + 1
        column = name_column([name for name in table.schema_arrow.names if name != IMAGE])
        columns, groups = [IMAGE, *([column] if column else [])], list(range(group, table.num_row_groups))
        for batch in table.iter_batches(_BATCH, row_groups=groups, columns=columns, use_threads=False):
            names = batch.column(column).to_pylist() if column else [None] * len(batch)
            for number, (name, image) in enumerate(zip(names, batch.column(IMAGE).to_pylist(), strict=True), first):
                data = image.get("bytes") if isinstance(image, dict) else image
                yield number, (row_name(shard, number, name), data if isinstance(data, bytes) else None)
            first += len(batch)


def row_name(shard: Shard, number: int, name: object = None) -> str:
    """How a shard's row is called: as its column of names says, else by the shard and its row there."""
    return name if isinstance(name, str) and name else f"{shard.name}#{number}"


@contextmanager
def _parquet(file: IO[bytes], name: str) -> Iterator[Any]:
    """A file as ``pyarrow.parquet.ParquetFile``; what is wrong with it is one DataError, also within the block."""
    parquet, arrow = require("pyarrow.parquet", "score"), require("pyarrow", "score")
    try:
        yield parquet.ParquetFile(file, buffer_size=1 << 20, pre_buffer=False)
    except (arrow.ArrowException, OSError, ValueError, LookupError) as error:
        what = f"the parquet file is damaged ({' '.join(str(error).split())[:200]})"
        raise DataError(what, name, "Fetch or write it again.") from error
