"""The engine on Ray Data: parts are its rows, and Ray places them, retries them and survives the loss of nodes.

Why Ray Data and yet parts of our own: what is scored together, the resume and "exactly once" are then the same code as
without Ray, and equal bytes come out. Why functions and not actors: a lost function is simply run anew, and Ray keeps
the processes that ran it, and in them the model, from one window of parts to the next.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import socket
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from itertools import islice
from threading import Event
from typing import Any

from mien.batch.chunks import Part
from mien.batch.scorer import Job, scorer
from mien.batch.table import Scored
from mien.errors import MienError, ParallelError, ServiceError, require

_WINDOW = 128
"""How many parts for each processor are given to Ray at a time: a plan of any length takes bounded memory."""
_PATIENCE = 10.0
"""Seconds in which a cluster must let itself be connected to; Ray by itself tries for minutes."""
_LEAVE = 30.0
"""Seconds in which the threads of Ray Data must end before Ray is left."""
_THREADS = ("StreamingExecutor", "iter_threaded", "ray-data")
"""How the names of Ray Data's threads begin that ask Ray for something by themselves."""
_QUIET = {"RAY_ENABLE_AUTO_CONNECT": "0"}
_ALONE = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_worker_niceness": "0"}
_STORE = 256 * 1024**2
"""Bytes of the local object store: parts are small."""


def score_on_ray(job: Job, parts: Iterator[Part], workers: int, stop: Event, address: str | None) -> Generator[Scored]:
    """Score parts on Ray, in whatever order they get done.

    Ray reads whether it is to keep to this machine when it is first imported. So a Ray of its own listens at 127.0.0.1
    only where Ray was not imported before, and a process that had one is not for clusters afterwards. Likewise it reads
    then that it is not to connect unasked: a process that goes on to use Ray itself calls ``ray.init()`` first.

    Args:
        job: the model and the settings; Ray carries them to the nodes.
        parts: taken a window at a time.
        workers: how many processors at most; 0: all that there are.
        stop: when it is set, the iterator ends with the next part.
        address: a cluster's; None: a Ray of its own on this machine, ended with the iterator.

    Raises:
        MissingExtraError: where Ray is not installed.
        ServiceError: where no cluster answers at the address, or this process is connected to another one.
        ParallelError: where the cluster gave up.
    """
    with _surroundings(address), _ray(workers, address) as (data, cores):
        room = max(1, min(workers or cores, cores)) * _WINDOW
        while (window := list(islice(parts, room))) and not stop.is_set():
            items = [{"part": pickle.dumps(part)} for part in window]
            table = data.from_items(items, override_num_blocks=len(items))
            pool = data.TaskPoolStrategy(size=workers or None)
            scored = table.map(_score, fn_kwargs={"job": job}, num_cpus=1, compute=pool)
            for one in _told(scored):
                yield one
                if stop.is_set():
                    return


def _score(row: dict[str, Any], job: Job) -> dict[str, Any]:
    """What Ray runs on a node: a part's scores, or why it refuses, which would not come back from Ray as it was."""
    part: Part = pickle.loads(row["part"])
    try:
        one: Scored | MienError = scorer(job).score(part)
    except MienError as error:
        one = error
    return {"scored": pickle.dumps(one)}


def _told(table: Any) -> Iterator[Scored]:
    """The parts of a Ray data set as they come; what a worker refused is raised here.

    However it ends, the data set stops there and then: left to the garbage collector, which an error's traceback holds
    off, it would work on while Ray is left.
    """
    ray = require("ray", "ray")
    try:
        with closing(iter(table.iter_rows())) as rows:
            for row in rows:
                one: Scored | MienError = pickle.loads(row["scored"])
                if isinstance(one, MienError):
                    raise one
                yield one
    except ray.exceptions.RayError as error:
        line = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        mend = "Look at the cluster, then run the same command again: it goes on."
        raise ParallelError(f"Ray gave up ({line.strip()[:200]})", mend=mend) from error


@contextmanager
def _surroundings(address: str | None) -> Iterator[None]:
    """What Ray and its processes read from the environment.

    Told not to make a cluster, which on Linux it takes for granted, Ray listens at 127.0.0.1 alone. Its workers would
    give way to every other process of this machine, where those of the other engine do not.
    """
    usage = "RAY_USAGE_STATS_ENABLED"
    wanted = {usage: os.environ.get(usage, "0")} | _QUIET | ({} if address else _ALONE)
    before = {name: os.environ.get(name) for name in (*wanted, "PYTHONBREAKPOINT")}  # the last is set by Ray itself
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def _handle_sigterm(handler: Any) -> None:
    """Put a handler back: Ray replaces it by its own."""
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


@contextmanager
def _ray(workers: int, address: str | None) -> Iterator[tuple[Any, int]]:
    """Ray Data, connected, and how many processors it has. A Ray that was connected before stays so."""
    data, ray = require("ray.data", "ray"), require("ray", "ray")
    ours = not ray.is_initialized()
    if not ours:
        _check_connected(ray, address)
    else:
        handler = signal.getsignal(signal.SIGTERM)
        try:
            _start(ray, workers, address)
        finally:
            _handle_sigterm(handler)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield data, max(1, int(ray.cluster_resources().get("CPU", 1)))
    finally:
        if ours:
            _await_threads()
            ray.shutdown()


def _await_threads() -> None:
    """Wait until Ray Data asks nothing more: asked after the shutdown, Ray connects anew, for good."""
    deadline = time.monotonic() + _LEAVE
    for thread in threading.enumerate():
        if thread.name.startswith(_THREADS) and thread is not threading.current_thread():
            thread.join(max(0.0, deadline - time.monotonic()))


def _check_connected(ray: Any, address: str | None) -> None:
    """Refuse a cluster other than the one that this process is connected to."""
    here = ray.get_runtime_context().gcs_address
    if address not in (None, "auto", here):
        mend = "Call ray.shutdown() first, or leave the address away to use that one."
        raise ServiceError(f"this process is connected to another Ray cluster ({here})", address, mend)


def _start(ray: Any, workers: int, address: str | None) -> None:
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
            socket.create_connection((host.strip("[]"), int(port)), _PATIENCE).close()
        ray.init(address=address, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        mend = "Start one with ray start --head, or leave --address away."
        raise ServiceError(f"no Ray cluster answers ({' '.join(str(error).split())[:200]})", address, mend) from error
