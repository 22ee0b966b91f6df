"""What a worker does: a part's pictures through a predictor, on any engine."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from mien.batch.chunks import Part
from mien.batch.parquet_input import Cursor, row_name
from mien.batch.storage import refused, source
from mien.batch.table import Scored, encode
from mien.data.decoding import Source
from mien.errors import DataError
from mien.inference.predictor import Predictor
from mien.models.bundle import Bundle

_FETCHING = 16
"""How many addresses a worker fetches at once."""
_AHEAD = 32
"""How many pictures it has fetched or is fetching before their turn comes."""


@dataclass(frozen=True)
class Job:
    """What decides the rows, whoever computes them; workers get it whole, model included.

    Attributes:
        bundle: the model.
        detector: ``centerface``, ``yunet`` or ``none``.
        batch: how many pictures go through the networks together.
        rows: how many rows a part has.
        base: the folder or address that relative names lie below.
        place: the input, as an absolute path or an address.
        min_face: as :class:`mien.inference.Predictor`'s.
    """

    bundle: Bundle
    detector: str
    batch: int
    rows: int
    base: str
    place: str
    min_face: int | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What two runs must have in common for one to go on where the other ended."""
        return {
            "sha256": self.bundle.sha256, "input": self.place,
            "detector": self.detector, "batch-size": self.batch, "chunk-size": self.rows,
            "min-face": self.min_face,
        }  # fmt: skip

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the settings, hex."""
        given = {name: value for name, value in self.settings.items() if value is not None}
        return hashlib.sha256(json.dumps(given).encode()).hexdigest()


class Scorer:
    """A worker's predictor and its place in the shards; for one thread.

    Raises:
        ModelError: where the model or the detector cannot be used here.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        # One thread each: workers are as many as cores, and a worker's rows must not depend on their number.
        self._predictor = Predictor(job.bundle, 1, job.detector, batch=job.batch, min_face=job.min_face)
        self._cursor = Cursor()

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(_FETCHING, "fetch")

    def score(self, part: Part) -> Scored:
        """A part's rows; a picture that cannot be read is a row with an error."""
        names: list[str] = []
        pictures = self._named(part, names) if part.packed else self._rows(part, names)
        return encode(part, self.job.digest, self._predictor.labels, names, self._predictor.stream(pictures))

    def _named(self, part: Part, names: list[str]) -> Iterator[Source]:
        listed = part.names()
        names.extend(name or "" for name in listed)
        return self._ahead(source(name, self.job.base) for name in listed)

    def _ahead(self, pictures: Iterable[Source]) -> Iterator[Source]:
        """The same pictures, those that are fetched under way before their turn comes."""
        waiting: deque[Source] = deque()
        for one in pictures:
            waiting.append(self._pool.submit(one).result if callable(one) else one)
            if len(waiting) > _AHEAD:
                yield waiting.popleft()
        yield from waiting

    def _rows(self, part: Part, names: list[str]) -> Iterator[Source]:
        for segment in part.segments:
            read = 0
            try:
                for name, data in self._cursor.read(segment):
                    read += 1
                    names.append(name)
                    yield refused("it holds no image") if data is None else data
            except DataError as error:
                # The rows are known, though what they hold is lost: they are rows with an error.
                for place in range(read, segment.rows):
                    names.append(row_name(segment, place))
                    yield refused(error.what)


_kept: dict[str, Scorer] = {}


def scorer(job: Job) -> Scorer:
    """The process's scorer for a job, made once; a process holds one at most."""
    if job.digest not in _kept:
        _kept.clear()
        _kept[job.digest] = Scorer(job)
    return _kept[job.digest]
