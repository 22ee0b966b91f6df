"""A job from input to output: parts are planned, those that are missing are scored, and all of them are counted."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any, Literal

from mien._utils.files import protect
from mien.batch.chunks import Part
from mien.batch.inputs import Collection, open_collection
from mien.batch.local_engine import score_here
from mien.batch.output import Output, check_settings, merged
from mien.batch.ray_engine import score_on_ray
from mien.batch.scorer import Job
from mien.batch.storage import absolute, is_url
from mien.batch.table import Scored
from mien.errors import DataError, ParallelError, require
from mien.inference.predictor import Predictor
from mien.inference.yunet import yunet_file
from mien.models.load import DEFAULT, find_bundle, load_bundle

Engine = Literal["auto", "ray", "local"]
CROPS, FOUND = 2048, 256
"""How many rows a part has: face crops; pictures that a detector looks at, which takes far longer."""


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
        parts: how many parts these are.
        kept: how many rows were there before this run.
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
    parts: int = 0
    kept: int = 0
    seconds: float = 0.0
    stopped: bool = False
    unread: dict[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The summary, ready for JSON, with the rows a second that this run scored."""
        rate = (self.rows - self.kept) / self.seconds if self.seconds else 0.0
        return asdict(self) | {"seconds": round(self.seconds, 3), "rows_a_second": round(rate, 1)}


@dataclass(frozen=True)
class Options:
    """How a collection is scored.

    Attributes:
        model: a shipped model's name, a bundle's file, or a run folder.
        detector: as :class:`mien.inference.Predictor`'s; with ``none`` every picture is a face crop.
        batch: how many pictures go through the networks together.
        part: how many rows are written together, a multiple of ``batch``; 0: 2,048, or 256 with a detector, and then
            rounded up.
        workers: how many processes; 0: as many as processors.
        engine: ``ray``, ``local`` or ``auto``: Ray where it is installed, else processes of this machine.
        address: of a Ray cluster.
        again: score parts that hold errors once more.
        min_face: as :class:`mien.inference.Predictor`'s; only with a detector that searches.
    """

    model: str | Path = DEFAULT
    detector: str = "none"
    batch: int = 64
    part: int = 0
    workers: int = 0
    engine: Engine = "auto"
    address: str | None = None
    again: bool = False
    min_face: int | None = None

    @property
    def rows(self) -> int:
        """How many rows a part has."""
        wanted = self.part or (CROPS if self.detector == "none" else FOUND)
        return -(-wanted // self.batch) * self.batch

    def chosen_engine(self) -> Literal["ray", "local"]:
        """The engine, ``auto`` resolved.

        Raises:
            DataError: where an address is given to processes of this machine.
            MissingExtraError: where Ray is wanted and not installed.
        """
        if self.engine == "local" and self.address:
            raise DataError("only Ray has an address", self.address, "Leave --engine local or --address away.")
        missing = importlib.util.find_spec("ray") is None
        if self.engine == "local" or (missing and self.engine == "auto" and not self.address):
            return "local"
        if missing:
            require("ray", "ray")
        return "ray"


def score(
    source: str,
    out: str | Path,
    options: Options | None = None,
    heard: Callable[[int], None] = lambda rows: None,
    stop: Event | None = None,
) -> Summary:
    """Score a collection: a row for each picture, in the order of the input, exactly once.

    What a run that was killed has written is kept: the same call goes on with what is missing, to the same bytes.

    Args:
        source: as that of :func:`mien.batch.inputs.open_collection`.
        out: a folder of parquet parts, or a file that ends in ``.parquet``; it is made.
        options: the model and the settings.
        heard: is told how many rows have just been done, those that were there before included.
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
    _check_places(source, out)
    protect([path], [source, find_bundle(options.model)])
    engine = options.chosen_engine()
    collection = open_collection(source)
    job = job_of(options, collection)
    summary = Summary(str(out), job.bundle.card.name, job.bundle.sha256, job.detector, "none", options.workers)
    begin, single = time.perf_counter(), path.suffix.lower() == ".parquet" and not path.is_dir()
    if single and (told := merged(path)) is not None:
        return _already(summary, told, collection, job, options, path)
    with Output(path.with_name(f"{path.name}.parts") if single else path, job) as output:
        run = _Run(output, collection.parts(job.rows), options.again, heard, summary)
        parts = run.wanted()
        if (first := next(parts, None)) is not None:
            summary.engine = engine
            run.take(_engine(engine, job, chain([first], parts), options, stop))
        summary.stopped = stop.is_set() and not run.complete
        if not summary.stopped:
            run.finish(path if single else None)
    summary.seconds, summary.unread = time.perf_counter() - begin, dict(collection.unread)
    return summary


class _Run:
    """What is planned, missing and done; parts are planned as the engine asks for them."""

    def __init__(
        self, output: Output, parts: Iterator[Part], again: bool, heard: Callable[[int], None], summary: Summary
    ) -> None:
        self._output, self._parts, self._again, self._heard, self._summary = output, parts, again, heard, summary
        self._open: dict[int, Part] = {}
        self._plan, self._ended = hashlib.sha256(), False

    @property
    def complete(self) -> bool:
        """Whether every part of the input is there."""
        return self._ended and not self._open

    def wanted(self) -> Iterator[Part]:
        """The parts that are to be scored."""
        for part in self._parts:
            self._summary.parts += 1
            self._plan.update(part.digest.encode())
            stamp = self._output.done(part)
            if stamp is None or (self._again and stamp.errors):
                self._open[part.number] = part
                yield part
            else:
                self._summary.kept += stamp.rows
                self._count(stamp.rows, stamp.errors)
        self._ended = True

    def take(self, scored: Generator[Scored]) -> None:
        """Write what comes; of a part that comes twice the first counts."""
        with closing(scored):
            for one in scored:
                if self._open.pop(one.number, None) is not None:
                    self._output.write(one)
                    self._count(one.rows, one.errors)

    def finish(self, path: Path | None) -> None:
        """Write that all is there, and make one file of it where a path is given.

        Raises:
            ParallelError: where parts are missing.
        """
        if not self.complete:
            raise ParallelError(f"{len(self._open):,} parts never came back", mend="Run the same command again.")
        one, plan = self._summary, self._plan.hexdigest()
        figures = {"rows": one.rows, "errors": one.errors, "parts": one.parts, "plan": plan}
        self._output.finish(one.parts, figures)
        if path is not None:
            self._output.merge(one.parts, path, figures)

    def _count(self, rows: int, errors: int) -> None:
        self._summary.rows += rows
        self._summary.errors += errors
        self._heard(rows)


def _engine(engine: str, job: Job, parts: Iterator[Part], options: Options, stop: Event) -> Generator[Scored]:
    if engine == "ray":
        return score_on_ray(job, parts, options.workers, stop, options.address)
    return score_here(job, parts, options.workers or _cores(), stop)


def _already(
    summary: Summary, told: dict[str, Any], collection: Collection, job: Job, options: Options, path: Path
) -> Summary:
    """The summary of a file that is finished, once it is sure that it is of this job and this input."""
    check_settings(told, job, path)
    plan = hashlib.sha256()
    for part in collection.parts(job.rows):
        plan.update(part.digest.encode())
    mend = "Name another OUT, or remove this one."
    if plan.hexdigest() != told["plan"]:
        raise DataError("the input is not what it was when this file was made", path, mend)
    if options.again and told["errors"]:
        raise DataError("a finished file has no parts that could be scored again", path, mend)
    summary.rows = summary.kept = told["rows"]
    summary.errors, summary.parts, summary.unread = told["errors"], told["parts"], dict(collection.unread)
    return summary


def job_of(options: Options, collection: Collection) -> Job:
    """What decides the rows, from what the user chose.

    Raises:
        ModelError: where the model or the detector cannot be used.
    """
    detector = options.detector
    if detector == "auto":
        detector = "centerface" if yunet_file(missing_ok=True) is None else "yunet"
    bundle = load_bundle(options.model)
    Predictor(bundle, 1, detector, min_face=options.min_face)  # so that what is wrong is raised here, once
    place = absolute(collection.name)
    return Job(bundle, detector, options.batch, options.rows, collection.base, place, options.min_face)


def _check_places(source: str, out: str | Path) -> None:
    if is_url(str(out)):
        raise DataError("OUT is a path of this machine", out, "Name one, and copy the files from there.")
    if is_url(source):
        return
    here, there = Path(source).resolve(), Path(out).resolve()
    if there == here or (here.is_dir() and there.is_relative_to(here)):
        raise DataError("the output would lie inside the input", out, "Name a place outside of it.")


def _cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
