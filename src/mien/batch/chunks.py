"""A part: the rows that are scored, written and, after a kill, found done together.

Every engine gets the same parts, and row r stands in part r // size, so that neither the number of processes nor a
restart changes what goes through the network together.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import count, islice


@dataclass(frozen=True)
class Shard:
    """A parquet file with a column of images.

    Attributes:
        place: where it is opened.
        name: how rows call it.
        rows: how many it has.
        mark: SHA-256 of its size and footer, hex.
    """

    place: str
    name: str
    rows: int
    mark: str


@dataclass(frozen=True)
class Segment:
    """Rows of a shard, from ``start``, counted within it."""

    shard: Shard
    start: int
    rows: int


@dataclass(frozen=True)
class Part:
    """Rows of the collection.

    Attributes:
        number: its place among the parts.
        first: its first row's place in the collection.
        rows: how many it has, at least 1.
        digest: SHA-256 of what says which rows these are, hex.
        packed: the names of its pictures, compressed; empty where ``segments`` say where they are.
        segments: rows of shards, in order.
    """

    number: int
    first: int
    rows: int
    digest: str
    packed: bytes = b""
    segments: tuple[Segment, ...] = ()

    def names(self) -> list[str | None]:
        """The names of its pictures, where it is made of names; None where a list had none."""
        found: list[str | None] = json.loads(zlib.decompress(self.packed))
        return found


def cut_names(names: Iterable[str | None], size: int) -> Iterator[Part]:
    """Parts of at most ``size`` pictures; one part's names are held at a time."""
    left, first = iter(names), 0
    for number in count():
        chunk = list(islice(left, size))
        if not chunk:
            return
        text = json.dumps(chunk).encode()
        yield Part(number, first, len(chunk), _digest(first, text), packed=zlib.compress(text, 1))
        first += len(chunk)


def cut_shards(shards: Iterable[Shard], size: int) -> Iterator[Part]:
    """Parts of ``size`` rows, the last of fewer; a part may reach over several small shards."""
    number, first, waiting, room = 0, 0, list[Segment](), size
    for shard in shards:
        start = 0
        while start < shard.rows:
            rows = min(room, shard.rows - start)
            waiting.append(Segment(shard, start, rows))
            start, room = start + rows, room - rows
            if not room:
                yield _of_segments(number, first, waiting)
                number, first, waiting, room = number + 1, first + size, [], size
    if waiting:
        yield _of_segments(number, first, waiting)


def _of_segments(number: int, first: int, segments: list[Segment]) -> Part:
    text = json.dumps([[one.shard.name, one.shard.mark, one.start, one.rows] for one in segments]).encode()
    rows = sum(one.rows for one in segments)
    return Part(number, first, rows, _digest(first, text), segments=tuple(segments))


def _digest(first: int, text: bytes) -> str:
    return hashlib.sha256(b"%d " % first + text).hexdigest()
