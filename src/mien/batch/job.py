"""A job from input to output: chunks are planned, those that are missing are scored, and all of them are counted."""

from __future__ import annotations

import hashlib
import importlib.util
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any, Literal

from mien._utils.files import protect
from mien.batch.chunks import Chunk
from mien.batch.engines import score_locally, score_on_ray
from mien.batch.inputs import Collection, open_collection
from mien.batch.output import Output, check_settings, open_output, read_merged
from mien.batch.scorer import Job
from mien.batch.storage import absolute, is_url
from mien.batch.table import Scored
from mien.errors import DataError, require
from mien.inference.predictor import Predictor
from mien.models.load import DEFAULT, find_bundle, load_bundle
from mien.models.output import Prior, with_output

Engine = Literal["auto", "ray", "local"]
CROPS, DETECTED = 2048, 256
"""How many rows a chunk has: face crops; images with face detection, which takes far longer."""


@dataclass
class Summary:
    """What a run did.

    Attributes:
        out: the folder or file.
        model: the model's name.
        sha256: the model's.
        detector: what found the faces.
        engine: ``ray`` or ``local``; ``none`` where nothing was left to do.
        workers: how many were asked for; 0: one for each processor.
        rows: how many rows are there now.
        errors: how many of them have an error.
        chunks: how many chunks these are.
        existing: how many rows were there before this run.
        seconds: how long it took.
        stopped: whether it was stopped before its end.
        unread: how many files of the folder are not read, by the ends of their names.
    """

    out: str
    model: str
    sha256: str
    detector: str
    engine: str
    workers: int
    rows: int = 0
    errors: int = 0
    chunks: int = 0
    existing: int = 0
    seconds: float = 0.0
    stopped: bool = False
    unread: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The summary, ready for JSON, with the rows a second that this run scored."""
        rate = (self.rows - self.existing) / self.seconds if self.seconds else 0.0
        return asdict(self) | {"seconds": round(self.seconds, 3), "rows_a_second": round(rate, 1)}


@dataclass(frozen=True)
class Options:
    """How a collection is scored.

    Attributes:
        model: a shipped model's name, a bundle's file, or a run folder.
        detector: as :class:`mien.inference.Predictor`'s; with ``none`` every image is a face crop.
        batch: how many images go through the networks together.
        chunk_size: how many rows are written together, rounded up to a multiple of ``batch``; 0: 2,048, or 256 with a
            detector.
        workers: how many processes; 0: as many as processors.
        engine: ``ray``, ``local`` or ``auto``: Ray where it is installed, else processes of this machine.
        address: of a Ray cluster.
        retry_errors: score chunks that hold errors once more.
        min_face: as :class:`mien.inference.Predictor`'s; only with a detector that searches.
        output: as that of :func:`mien.models.output.with_output`.
        prior: as that.
    """

    model: str | Path = DEFAULT
    detector: str = "none"
    batch: int = 64
    chunk_size: int = 0
    workers: int = 0
    engine: Engine = "auto"
    address: str | None = None
    retry_errors: bool = False
    min_face: int | None = None
    output: str | None = None
    prior: Prior | None = None

    @property
    def rows(self) -> int:
        """How many rows a chunk has."""
        expected = self.chunk_size or (CROPS if self.detector == "none" else DETECTED)
        return -(-expected // self.batch) * self.batch

    def chosen_engine(self) -> Literal["ray", "local"]:
        """The engine, ``auto`` resolved.

        Raises:
            DataError: where an address is given to processes of this machine.
            MissingExtraError: where Ray is selected and not installed.
        """
        if self.engine == "local" and self.address:
            raise DataError("only Ray has an address", self.address, "Leave --engine local or --address away.")
        if importlib.util.find_spec("ray") is None:
            if self.engine == "ray" or self.address:
                require("ray", "ray")
            return "local"
        return "local" if self.engine == "local" else "ray"


def score(
    source: str,
    out: str | Path,
    options: Options | None = None,
    on_rows: Callable[[int], None] = lambda rows: None,
    stop: Event | None = None,
) -> Summary:
    """Score a collection: a row for each image, in the order of the input, exactly once.

    What a run that was killed has written is used: the same call goes on with what is missing, to the same bytes.

    Args:
        source: as that of :func:`mien.batch.inputs.open_collection`.
        out: a folder of parquet files, or a file that ends in ``.parquet``; it is made.
        options: the model and the settings.
        on_rows: called with how many rows have just been done, those that were there before included.
        stop: when it is set, the run ends soon; what was written stays.

    Raises:
        DataError: where the input cannot be read, or the output holds something else or cannot be written.
        ModelError: where the model or the detector cannot be used.
        ServiceError: where no Ray cluster answers.
        ParallelError: where workers died again and again.
        MissingExtraError: where a package that this needs is not installed.
    """
    require("pyarrow", "score")
    options, path, stop = options or Options(), Path(out), stop or Event()
    _check_out(source, out)
    protect([path], [source, find_bundle(options.model)])
    engine = options.chosen_engine()
    collection = open_collection(source)
    job = make_job(options, collection)
    summary = Summary(str(out), job.bundle.card.name, job.bundle.sha256, job.detector, "none", options.workers)
    begin, single = time.perf_counter(), path.suffix.lower() == ".parquet" and not path.is_dir()
    if single and (found := read_merged(path)) is not None:
        _check_finished(found, collection, job, options, path)
        summary.rows = summary.existing = found["rows"]
        summary.errors, summary.chunks = found["errors"], found["chunks"]
    else:
        with open_output(path.with_name(f"{path.name}.parts") if single else path, job) as output:
            run = _Run(output, options.retry_errors, on_rows, summary)
            chunks = run.missing(collection.chunks(job.chunk_size))
            if (first := next(chunks, None)) is not None:
                summary.engine = engine
                start = partial(score_on_ray, address=options.address) if engine == "ray" else score_locally
                run.write(start(job, chain([first], chunks), options.workers, stop))
            summary.stopped = stop.is_set() and not run.is_complete
            if not summary.stopped:
                run.finish(path if single else None)
        summary.seconds = time.perf_counter() - begin
    summary.unread = dict(collection.unread)
    return summary


class _Run:
    """Counts what is planned, missing and done; chunks are planned as the engine asks for them."""

    def __init__(self, output: Output, retry_errors: bool, on_rows: Callable[[int], None], summary: Summary) -> None:
        self._output, self._retry_errors, self._on_rows, self._summary = output, retry_errors, on_rows, summary
        self._plan, self._missing, self._planned = hashlib.sha256(), 0, False

    @property
    def is_complete(self) -> bool:
        """Whether every row of the input is there."""
        return self._planned and not self._missing

    def missing(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """The chunks that are to be scored."""
        for chunk in chunks:
            self._summary.chunks += 1
            self._plan.update(chunk.digest.encode())
            found = self._output.done(chunk)
            if found is None or (self._retry_errors and found.errors):
                self._missing += 1
                yield chunk
            else:
                self._summary.existing += found.rows
                self._count(found.rows, found.errors)
        self._planned = True

    def write(self, scored: Generator[Scored]) -> None:
        """Write what comes."""
        with closing(scored):
            for one in scored:
                self._output.write(one)
                self._missing -= 1
                self._count(one.rows, one.errors)

    def finish(self, path: Path | None) -> None:
        """Write that all is there, and make one file of it where a path is given."""
        one = self._summary
        figures = {"rows": one.rows, "errors": one.errors, "chunks": one.chunks, "plan": self._plan.hexdigest()}
        self._output.finish(figures, path)

    def _count(self, rows: int, errors: int) -> None:
        self._summary.rows += rows
        self._summary.errors += errors
        self._on_rows(rows)


def _check_finished(found: dict[str, Any], collection: Collection, job: Job, options: Options, path: Path) -> None:
    """Check that a finished file is of this job and this input."""
    check_settings(found, job, path)
    plan = hashlib.sha256()
    for chunk in collection.chunks(job.chunk_size):
        plan.update(chunk.digest.encode())
    mend = "Name another OUT, or remove this one."
    if plan.hexdigest() != found["plan"]:
        raise DataError("the input is not what it was when this file was made", path, mend)
    if options.retry_errors and found["errors"]:
        raise DataError("a finished file has no chunks that could be scored once more", path, mend)


def make_job(options: Options, collection: Collection) -> Job:
    """What decides the rows, from what the user chose; a ModelError where model or detector cannot be used."""
    bundle = with_output(load_bundle(options.model), options.output, options.prior)
    Predictor(bundle, 1, options.detector, min_face=options.min_face)  # so that what is wrong is raised here, once
    path = absolute(collection.name)
    return Job(bundle, options.detector, options.batch, options.rows, collection.base, path, options.min_face)


def _check_out(source: str, out: str | Path) -> None:
    if is_url(str(out)):
        raise DataError("OUT is a path of this machine", out, "Name one, and copy the files from there.")
    if is_url(source):
        return
    here, there = Path(source).resolve(), Path(out).resolve()
    if there == here or (here.is_dir() and there.is_relative_to(here)):
        raise DataError("the output would lie inside the input", out, "Name a place outside of it.")
