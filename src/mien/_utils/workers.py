"""Worker processes that end with the process that started them, however that ends."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any


@contextmanager
def worker_pool(
    workers: int, initializer: Callable[..., object] | None = None, *arguments: Any
) -> Iterator[ProcessPoolExecutor]:
    """New processes, which leave Ctrl-C to this one and end when the block does, also in the middle of a task.

    Args:
        workers: how many at most.
        initializer: called first in each process, with the arguments.
        arguments: must be picklable.
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(workers, context, _begin, (receiver, initializer, arguments))
    try:
        yield pool
    finally:
        sender.close()
        pool.shutdown(wait=True, cancel_futures=True)
        receiver.close()


def _begin(receiver: Connection, initializer: Callable[..., object] | None, arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(receiver,), daemon=True).start()
    if initializer is not None:
        initializer(*arguments)


def _end_with_parent(receiver: Connection) -> None:
    with suppress(OSError):
        receiver.poll(None)
    os._exit(0)
