"""The engine for one machine: worker processes, which parts are handed to as they come free."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import warnings
from collections import Counter
from collections.abc import Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from itertools import chain, islice
from multiprocessing.connection import Connection
from threading import Event

from mien.batch.chunks import Part
from mien.batch.scorer import Job, scorer
from mien.batch.table import Scored
from mien.errors import ParallelError

_TRIES = 3
"""How often a part may be under way when a worker dies."""
_EACH = 2
"""Parts under way or waiting for each worker, so that none waits for this process."""
_WAKE = 0.5

_Running = dict["Future[Scored]", Part]


def score_here(job: Job, parts: Iterator[Part], workers: int, stop: Event) -> Generator[Scored]:
    """Score parts in worker processes, in whatever order they get done.

    A worker that dies is replaced, and what it was at is done again.

    Args:
        job: the model and the settings.
        parts: taken as workers come free, not before.
        workers: how many processes.
        stop: when it is set, the iterator ends at once; parts under way are dropped.

    Raises:
        ParallelError: where workers died again and again over the same part.
    """
    died: Counter[int] = Counter()
    while not stop.is_set():
        running: _Running = {}
        with _Workers(job, workers) as pool:
            try:
                yield from _drain(pool, parts, running, stop)
                return
            except BrokenProcessPool:
                _blame(died, running)
        parts = chain(running.values(), parts)


class _Workers:
    """Processes that end when the block does, also when this process is killed: a pipe tells them."""

    def __init__(self, job: Job, workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._heard, self._held = context.Pipe(duplex=False)
        self._pool = ProcessPoolExecutor(workers, context, _begin, (job, self._heard))
        self.room = workers * _EACH

    def submit(self, part: Part) -> Future[Scored]:
        return self._pool.submit(_score, part)

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._heard.close()


def _drain(pool: _Workers, parts: Iterator[Part], running: _Running, stop: Event) -> Iterator[Scored]:
    _fill(pool, parts, running)
    while running and not stop.is_set():
        for future in wait(running, _WAKE, FIRST_COMPLETED).done:
            scored = future.result()
            del running[future]
            yield scored
        _fill(pool, parts, running)


def _fill(pool: _Workers, parts: Iterator[Part], running: _Running) -> None:
    for part in islice(parts, pool.room - len(running)):
        try:
            running[pool.submit(part)] = part
        except BrokenProcessPool:
            running[Future()] = part
            raise


def _blame(died: Counter[int], running: _Running) -> None:
    died.update(part.number for part in running.values())
    for part in running.values():
        if died[part.number] >= _TRIES:
            where = f"rows {part.first:,} to {part.first + part.rows - 1:,}"
            mend = "Look for what ends processes (memory?), then run the same command again: it goes on."
            raise ParallelError(f"worker processes died {_TRIES} times over the same rows", where, mend)


_job: list[Job] = []


def _begin(job: Job, held: Connection) -> None:
    """Make a process a worker: it leaves Ctrl-C to the one that started it, and does not outlive that one."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.filterwarnings("ignore", module="PIL")
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with, args=(held,), daemon=True).start()
    _job[:] = [job]


def _end_with(held: Connection) -> None:
    with suppress(OSError):
        held.poll(None)
    os._exit(0)


def _score(part: Part) -> Scored:
    return scorer(_job[0]).score(part)
