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
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from itertools import islice
from threading import Event
from typing import Any

from mien.errors import MienError, ParallelError, ServiceError, require
from mien.score.parts import Part
from mien.score.scorer import Job, scorer
from mien.score.table import Scored

_WINDOW = 128
"""How many parts for each processor are given to Ray at a time: a plan of any length takes bounded memory."""
_PATIENCE = 10.0
"""Seconds in which a cluster must let itself be connected to; Ray by itself tries for minutes."""
_STORE = 256 * 1024**2
"""Bytes of the local object store: parts are small."""


def score_on_ray(job: Job, parts: Iterator[Part], workers: int, stop: Event, address: str | None) -> Generator[Scored]:
    """Score parts on Ray, in whatever order they get done.

    Args:
        job: the model and the settings; Ray carries them to the nodes.
        parts: taken a window at a time.
        workers: how many processors at most; 0: all that there are.
        stop: when it is set, the iterator ends with the next part.
        address: a cluster's; None: a Ray of its own on this machine, ended with the iterator.

    Raises:
        MissingExtraError: where Ray is not installed.
        ServiceError: where no cluster answers at the address.
        ParallelError: where the cluster gave up.
    """
    data = require("ray.data", "ray")
    with _ray(workers, address) as cores:
        room = max(1, min(workers or cores, cores)) * _WINDOW
        while (window := list(islice(parts, room))) and not stop.is_set():
            items = [{"part": pickle.dumps(part)} for part in window]
            table = data.from_items(items, override_num_blocks=len(items))
            pool = data.TaskPoolStrategy(size=workers or None)
            scored = table.map(_score, fn_kwargs={"job": job}, num_cpus=1, compute=pool)
            for row in _told(scored):
                yield Scored(row["number"], row["rows"], row["errors"], bytes(row["data"]))
                if stop.is_set():
                    return


def _score(row: dict[str, Any], job: Job) -> dict[str, Any]:
    part: Part = pickle.loads(row["part"])
    one = scorer(job).score(part)
    return {"number": one.number, "rows": one.rows, "errors": one.errors, "data": one.data}


def _told(table: Any) -> Iterator[dict[str, Any]]:
    """The rows of a Ray data set as they come; what a worker refused is raised as it was there."""
    ray = require("ray", "ray")
    try:
        yield from table.iter_rows()
    except ray.exceptions.RayError as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MienError):
                raise cause from error
            cause = cause.__cause__ or getattr(cause, "cause", None)
        line = next((line for line in reversed(str(error).splitlines()) if line.strip()), type(error).__name__)
        mend = "Look at the cluster, then run the same command again: it goes on."
        raise ParallelError(f"Ray gave up ({line.strip()[:200]})", mend=mend) from error


@contextmanager
def _ray(workers: int, address: str | None) -> Iterator[int]:
    """Ray, connected; how many processors it has. One that was connected before stays so."""
    ray = require("ray", "ray")
    ours = not ray.is_initialized()
    if ours:
        _start(ray, workers, address)
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield max(1, int(ray.cluster_resources().get("CPU", 1)))
    finally:
        if ours:
            ray.shutdown()


def _start(ray: Any, workers: int, address: str | None) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    with _kept_sigterm():
        _init(ray, workers, address)


@contextmanager
def _kept_sigterm() -> Iterator[None]:
    """Ray puts a handler of its own in place of the one that was there."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    if before is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, before)


def _init(ray: Any, workers: int, address: str | None) -> None:
    quiet = {"logging_level": logging.ERROR, "log_to_driver": False}
    if address is None:
        ray.init(
            address="local", num_cpus=workers or None, include_dashboard=False, object_store_memory=_STORE,
            _node_ip_address="127.0.0.1", **quiet,
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
