"""What scores the chunks: processes of this machine or Ray tasks, both as futures in one loop.

Why Ray's tasks and not Ray Data: a chunk is the unit of resuming and of "exactly once" anyway, and a task whose node
or process is lost is run again by Ray. Why functions and not actors: Ray keeps the processes that ran a function, and
in them the model, for the next chunk.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain, islice
from threading import Event
from typing import Any

from mien._utils.workers import worker_pool
from mien.batch.chunks import Chunk
from mien.batch.scorer import Job, scorer
from mien.batch.table import Scored
from mien.errors import MienError, ParallelError, ServiceError, require

_TRIES = 3
"""How many times a worker may die over one chunk."""
_QUEUED = 2
"""Chunks in progress or waiting for each worker, so that none waits for this process."""
_POLL = 0.5
"""Seconds after which a stop is noticed."""
_CONNECT = 10.0
"""Seconds in which a cluster must accept a connection; Ray by itself tries for minutes."""
_STORE = 256 * 1024**2
"""Bytes of the local object store: chunks are small."""

Running = dict["Future[Scored]", Chunk]


def score_locally(job: Job, chunks: Iterator[Chunk], workers: int, stop: Event) -> Generator[Scored]:
    """Score chunks in processes of this machine, 0 for as many as cores; a process that dies is replaced.

    Chunks are taken as processes become free, and come back in the order in which they end. When ``stop`` is set the
    iterator ends at once; chunks in progress are dropped.

    Raises:
        ParallelError: where processes died again and again over the same chunk.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    workers, deaths = workers or cores, Counter[int]()
    while not stop.is_set():
        running: Running = {}
        with worker_pool(workers, _begin, job) as pool:
            try:
                yield from _collect(_submit(pool), chunks, running, lambda: workers * _QUEUED, stop)
                return
            except BrokenProcessPool:
                _count_deaths(deaths, running)
        chunks = chain(running.values(), chunks)


def score_on_ray(
    job: Job, chunks: Iterator[Chunk], workers: int, stop: Event, address: str | None
) -> Generator[Scored]:
    """Score chunks as Ray tasks, as :func:`score_locally` does; nodes may join and be lost.

    Ray reads whether it is to keep to this machine when it is first imported. So a Ray of its own listens at 127.0.0.1
    only where Ray was not imported before, and a process that had one is not for clusters afterwards.

    Args:
        job: the model and the settings; Ray carries them to the nodes.
        chunks: what to score.
        workers: how many processors at most; 0: all that there are.
        stop: ends the iterator.
        address: a cluster's; None: a Ray of its own on this machine, ended with the iterator.

    Raises:
        MissingExtraError: where Ray is not installed.
        ServiceError: where no cluster answers at the address, or this process is connected to another one.
        ParallelError: where the cluster failed.
    """
    with _environment(address), _connected(workers, address) as ray:
        task = ray.remote(num_cpus=1, max_retries=_TRIES)(_score_on_node)
        shared = ray.put(job)

        def limit() -> int:
            cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
            return workers if 0 < workers < cores else cores * _QUEUED

        running: dict[Any, Chunk] = {}
        try:
            yield from _collect(lambda chunk: task.remote(shared, chunk).future(), chunks, running, limit, stop)
        except ray.exceptions.RayError as error:
            if isinstance(cause := getattr(error, "cause", None), MienError):
                raise cause from None
            line = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
            mend = "Look at the cluster, then run the same command again: it goes on."
            raise ParallelError(f"Ray failed ({line.strip()[:200]})", mend=mend) from error
        finally:
            for future in running:
                ray.cancel(future.object_ref)


def _collect(
    submit: Callable[[Chunk], Future[Scored]], chunks: Iterator[Chunk], running: Running, limit: Callable[[], int],
    stop: Event,
) -> Iterator[Scored]:  # fmt: skip
    """Submit chunks, at most ``limit`` at a time, and give what comes back; ``running`` holds the others."""
    while not stop.is_set():
        for chunk in islice(chunks, max(0, limit() - len(running))):
            running[submit(chunk)] = chunk
        if not running:
            return
        for future in wait(running, _POLL, FIRST_COMPLETED).done:
            scored = future.result()
            del running[future]
            yield scored


def _submit(pool: ProcessPoolExecutor) -> Callable[[Chunk], Future[Scored]]:
    def submit(chunk: Chunk) -> Future[Scored]:
        try:
            return pool.submit(_score_here, chunk)
        except BrokenProcessPool as error:  # so that the chunk is counted among those in progress
            failed: Future[Scored] = Future()
            failed.set_exception(error)
            return failed

    return submit


def _count_deaths(deaths: Counter[int], running: Running) -> None:
    deaths.update(chunk.number for chunk in running.values())
    for chunk in running.values():
        if deaths[chunk.number] >= _TRIES:
            where = f"rows {chunk.first:,} to {chunk.first + chunk.rows - 1:,}"
            mend = "Look for what ends processes (memory?), then run the same command again: it goes on."
            raise ParallelError(f"worker processes died {_TRIES} times over the same rows", where, mend)


_job: list[Job] = []


def _begin(job: Job) -> None:
    import cv2

    warnings.filterwarnings("ignore", module="PIL")
    cv2.setNumThreads(1)
    _job[:] = [job]


def _score_here(chunk: Chunk) -> Scored:
    return scorer(_job[0]).score(chunk)


def _score_on_node(job: Job, chunk: Chunk) -> Scored:
    return scorer(job).score(chunk)


@contextmanager
def _environment(address: str | None) -> Iterator[None]:
    """What Ray and its processes read from the environment.

    Told not to make a cluster, which on Linux it takes for granted, Ray listens at 127.0.0.1 alone. Its workers would
    give way to every other process of this machine, where those of the other engine do not.
    """
    usage = "RAY_USAGE_STATS_ENABLED"
    alone = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_worker_niceness": "0"}
    settings = {usage: os.environ.get(usage, "0")} | ({} if address else alone)
    before = {name: os.environ.get(name) for name in (*settings, "PYTHONBREAKPOINT")}  # the last is set by Ray itself
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


@contextmanager
def _connected(workers: int, address: str | None) -> Iterator[Any]:
    """The module ``ray``, connected. A Ray that was connected before stays so."""
    ray = require("ray", "ray")
    if ray.is_initialized():
        here = ray.get_runtime_context().gcs_address
        if address not in (None, "auto", here):
            mend = "Call ray.shutdown() first, or leave the address away to use that one."
            raise ServiceError(f"this process is connected to another Ray cluster ({here})", address, mend)
        yield ray
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        _connect(ray, workers, address)
    finally:
        if handler is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)  # Ray replaces it by its own
    try:
        yield ray
    finally:
        ray.shutdown()


def _connect(ray: Any, workers: int, address: str | None) -> None:
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        ray.init(
            address="local", num_cpus=workers or None, include_dashboard=False, object_store_memory=_STORE,
            **quiet,
        )  # fmt: skip
        return
    try:
        if ":" in address:
            host, _, port = address.rpartition("/")[2].rpartition(":")
            socket.create_connection((host.strip("[]"), int(port)), _CONNECT).close()
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        mend = "Start one with ray start --head, or leave --address away."
        raise ServiceError(f"no Ray cluster answers ({' '.join(str(error).split())[:200]})", address, mend) from error
