"""A chunk: the rows that are scored and written together, and found done together when a run is resumed.

Every engine gets the same chunks, and row r is in chunk r // size, so that neither the number of processes nor a
restart changes what goes through the network together.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice


@dataclass(frozen=True)
class Shard:
    """A parquet file with a column of images.

    Attributes:
        path: its path or address.
        name: how rows call it.
        rows: how many it has.
        digest: SHA-256 of its footer, hex.
    """

    path: str
    name: str
    rows: int
    digest: str


@dataclass(frozen=True)
class Segment:
    """Rows of a shard, from ``start``, counted within it."""

    shard: Shard
    start: int
    rows: int


@dataclass(frozen=True)
class Chunk:
    """Rows of the collection.

    Attributes:
        number: from 0, in the order of the input.
        first: its first row's number in the collection.
        rows: how many it has, at least 1.
        digest: SHA-256 of what says which rows these are, hex.
        names: of its images, None where a list had none; empty where ``segments`` say where they are.
        segments: rows of shards, in order.
    """

    number: int
    first: int
    rows: int
    digest: str
    names: tuple[str | None, ...] = ()
    segments: tuple[Segment, ...] = ()


def chunk_names(names: Iterable[str | None], size: int) -> Iterator[Chunk]:
    """Chunks of at most ``size`` images; one chunk's names are held at a time."""
    left = iter(names)
    for number in count():
        some = tuple(islice(left, size))
        if not some:
            return
        first = number * size
        yield Chunk(number, first, len(some), _digest(first, some), names=some)


def chunk_shards(shards: Iterable[Shard], size: int) -> Iterator[Chunk]:
    """Chunks of ``size`` rows, the last of fewer; a chunk may reach over several small shards."""
    first, segments, room = 0, list[Segment](), size
    for shard in shards:
        start = 0
        while start < shard.rows:
            rows = min(room, shard.rows - start)
            segments.append(Segment(shard, start, rows))
            start, room = start + rows, room - rows
            if not room:
                yield _of_segments(first, size, segments)
                first, segments, room = first + size, [], size
    if segments:
        yield _of_segments(first, size, segments)


def _of_segments(first: int, size: int, segments: list[Segment]) -> Chunk:
    digest = _digest(first, [[one.shard.name, one.shard.digest, one.start, one.rows] for one in segments])
    return Chunk(first // size, first, sum(one.rows for one in segments), digest, segments=tuple(segments))


def _digest(first: int, rows: object) -> str:
    return hashlib.sha256(json.dumps([first, rows]).encode()).hexdigest()
