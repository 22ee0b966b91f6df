"""Parquet files as input: images in a column, or the names of images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import IO, Any

from mien.batch.chunks import Segment, Shard
from mien.batch.storage import opened
from mien.errors import DataError, require

IMAGE = "image"
"""The column of encoded images."""
NAMES = ("uri", "url", "path", "file", "filename", "file_name")
"""Columns of names, the first that is there counts."""
_BATCH = 256
_BUFFER = 1 << 20


def shard(place: str, name: str) -> Shard:
    """What there is to know of a shard before it is read.

    Raises:
        DataError: where it is no parquet file.
    """
    with opened(place) as file:
        rows = int(_open(file, name).metadata.num_rows)
        size = file.seek(0, 2)
        file.seek(size - 8)
        footer = int.from_bytes(file.read(4), "little")
        file.seek(max(0, size - 8 - footer))
        mark = hashlib.sha256(b"%d " % size + file.read(footer))
    return Shard(place, name, rows, mark.hexdigest())


def image_column(place: str) -> bool:
    """Whether a parquet file holds images rather than names of images.

    Raises:
        DataError: where it holds neither.
    """
    with opened(place) as file:
        schema = _open(file, place).schema_arrow
    if IMAGE in schema.names and _holds_bytes(schema.field(IMAGE).type):
        return True
    if name_column(schema.names) is None:
        what = f"it has neither a column image (encoded bytes) nor uri or path; it has {', '.join(schema.names)}"
        raise DataError(what, place, "Rename the column that holds the images or their names.")
    return False


def name_column(columns: list[str]) -> str | None:
    """The column that holds names, whatever its case; None where none does."""
    lower = {column.strip().lower(): column for column in reversed(columns)}
    return next((lower[name] for name in NAMES if name in lower), None)


def read_names(place: str) -> Iterator[str | None]:
    """The names in a parquet file's column of names, a few at a time.

    Raises:
        DataError: where the file is damaged, or the column holds no text.
    """
    arrow = require("pyarrow", "score")
    with opened(place) as file:
        table = _open(file, place)
        column = name_column(table.schema_arrow.names)
        if column is None:
            raise DataError("it has no column uri or path", place, "Name files of one kind.")
        try:
            for batch in table.iter_batches(_BATCH * 16, columns=[column], use_threads=False):
                yield from batch.column(0).cast(arrow.string()).to_pylist()
        except (arrow.ArrowException, OSError, ValueError, LookupError) as error:
            raise _damaged(place, error) from error


class Cursor:
    """Reads rows of shards; those that follow the last ones cost no new start.

    A row group cannot be entered in its middle, and may hold a million rows; so the cursor stays where it is, and a
    worker whose parts come in order reads every row group at most once.
    """

    def __init__(self) -> None:
        self._shard: Shard | None = None
        self._at = 0
        self._file: IO[bytes] | None = None
        self._batches: Iterator[Any] = iter(())
        self._batch: Any = None
        self._name: str | None = None

    def read(self, segment: Segment) -> Iterator[tuple[str, bytes | None]]:
        """Each row's name and encoded image (None where it has none), in order.

        Raises:
            DataError: where the file is damaged or has changed; rows that came before it are good.
        """
        arrow = require("pyarrow", "score")
        try:
            yield from self._read(segment)
        except (arrow.ArrowException, OSError, ValueError, LookupError, DataError) as error:
            self.close()
            raise error if isinstance(error, DataError) else _damaged(segment.shard.name, error) from error

    def close(self) -> None:
        """Forget the place; the next call opens its file anew."""
        if self._file is not None:
            self._file.close()
        self._shard, self._at, self._file, self._batches, self._batch = None, 0, None, iter(()), None

    def _read(self, segment: Segment) -> Iterator[tuple[str, bytes | None]]:
        if self._shard != segment.shard or segment.start < self._at:
            self._enter(segment)
        while self._at < segment.start:
            self._take(segment.start - self._at)
        end = segment.start + segment.rows
        while self._at < end:
            row = self._at
            piece = self._take(end - row)
            images = piece.column(IMAGE).to_pylist()
            names = piece.column(self._name).to_pylist() if self._name else [None] * len(images)
            for number, (name, image) in enumerate(zip(names, images, strict=True), row):
                data = image.get("bytes") if isinstance(image, dict) else image
                yield row_name(segment, number - segment.start, name), data if isinstance(data, bytes) else None

    def _enter(self, segment: Segment) -> None:
        """Open a shard at the row group that holds the segment's first row."""
        self.close()
        self._file = opened(segment.shard.place)
        table = _open(self._file, segment.shard.name)
        sizes = [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]
        group, begin = 0, 0
        while group < len(sizes) and begin + sizes[group] <= segment.start:
            begin, group = begin + sizes[group], group + 1
        self._name = name_column([one for one in table.schema_arrow.names if one != IMAGE])
        columns = [IMAGE, *([self._name] if self._name else [])]
        groups = list(range(group, len(sizes)))
        self._batches = table.iter_batches(_BATCH, row_groups=groups, columns=columns, use_threads=False)
        self._shard, self._at = segment.shard, begin

    def _take(self, most: int) -> Any:
        """The next rows, at most so many."""
        if self._batch is None or not len(self._batch):
            self._batch = next(self._batches, None)
            if self._batch is None:
                raise DataError("it has fewer rows than when the job was planned", mend="Leave the input as it is.")
        piece = self._batch.slice(0, most)
        self._batch = self._batch.slice(len(piece))
        self._at += len(piece)
        return piece


def row_name(segment: Segment, place: int, name: object = None) -> str:
    """How a shard's row is called: as its column of names says, else by the shard and its row there."""
    return name if isinstance(name, str) and name else f"{segment.shard.name}#{segment.start + place}"


def _open(file: IO[bytes], name: str) -> Any:
    parquet, arrow = require("pyarrow.parquet", "score"), require("pyarrow", "score")
    try:
        return parquet.ParquetFile(file, buffer_size=_BUFFER, pre_buffer=False)
    except (arrow.ArrowException, OSError, ValueError, LookupError) as error:
        raise _damaged(name, error) from error


def _damaged(name: str, error: Exception) -> DataError:
    what = f"the parquet file is damaged ({' '.join(str(error).split())[:200]})"
    return DataError(what, name, "Fetch or write it again.")


def _holds_bytes(kind: Any) -> bool:
    """Whether a column is of bytes, or of the structs of bytes and path that Hugging Face writes."""
    return "binary" in str(kind)
