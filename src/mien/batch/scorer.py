"""What a worker does: a chunk's images through a predictor, on any engine."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import tee
from typing import Any

from mien.batch.chunks import Chunk
from mien.batch.parquet_input import Cursor, row_name
from mien.batch.storage import source, unreadable
from mien.batch.table import Scored, encode
from mien.data.decoding import Source
from mien.errors import DataError
from mien.inference.predictor import Predictor
from mien.models.bundle import Bundle

_FETCHING = 16
"""How many addresses a worker fetches at once."""
_AHEAD = 32
"""How many images it has fetched or is fetching before their turn comes."""

Named = tuple[str, Source]
"""A row's name, and its image as the predictor takes it."""


@dataclass(frozen=True)
class Job:
    """What decides the rows, whoever computes them; workers get it whole, model included.

    Attributes:
        bundle: the model.
        detector: ``fast``, ``accurate`` or ``none``.
        batch: how many images go through the networks together.
        chunk_size: how many rows a chunk has.
        base: the folder or address that relative names lie below.
        path: the input, as an absolute path or an address.
        min_face: as :class:`mien.inference.Predictor`'s.
    """

    bundle: Bundle
    detector: str
    batch: int
    chunk_size: int
    base: str
    path: str
    min_face: int | None = None

    @property
    def settings(self) -> dict[str, Any]:
        """What two runs must have in common for one to go on where the other ended."""
        output, prior = self.bundle.card.calibration.output, self.bundle.card.calibration.prior
        return {
            "sha256": self.bundle.sha256, "input": self.path,
            "detector": self.detector, "batch-size": self.batch, "chunk-size": self.chunk_size,
            "min-face": self.min_face, "output": output, "prior": prior and list(prior),
        }  # fmt: skip

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the settings, hex."""
        given = {name: value for name, value in self.settings.items() if value is not None}
        return hashlib.sha256(json.dumps(given).encode()).hexdigest()


class Scorer:
    """A worker's predictor and its position in the shards; for one thread.

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

    def score(self, chunk: Chunk) -> Scored:
        """A chunk's rows; an image that cannot be read is a row with an error."""
        images, names = tee(self._listed(chunk) if chunk.names else self._rows(chunk))
        predictions = self._predictor.stream(image for _, image in images)
        # The predictions come first: their images are read before the names are taken.
        named = zip(predictions, (name for name, _ in names), strict=True)
        return encode(chunk, self.job.digest, self._predictor.labels, named)

    def _listed(self, chunk: Chunk) -> Iterator[Named]:
        return self._prefetch((name or "", source(name, self.job.base)) for name in chunk.names)

    def _prefetch(self, images: Iterable[Named]) -> Iterator[Named]:
        """The same images; those at addresses are fetched before their turn comes."""
        waiting: deque[Named] = deque()
        for name, image in images:
            waiting.append((name, self._pool.submit(image).result if callable(image) else image))
            if len(waiting) > _AHEAD:
                yield waiting.popleft()
        yield from waiting

    def _rows(self, chunk: Chunk) -> Iterator[Named]:
        for segment in chunk.segments:
            number, end = segment.start, segment.start + segment.rows
            try:
                for name, data in self._cursor.read(segment):
                    number += 1
                    yield name, unreadable("it holds no image") if data is None else data
            except DataError as error:
                # The rows are known, though what they hold is lost: they are rows with an error.
                for lost in range(number, end):
                    yield row_name(segment.shard, lost), unreadable(error.what)


_scorers: dict[str, Scorer] = {}


def scorer(job: Job) -> Scorer:
    """The process's scorer for a job, made once; a process holds one at most."""
    if job.digest not in _scorers:
        _scorers.clear()
        _scorers[job.digest] = Scorer(job)
    return _scorers[job.digest]
