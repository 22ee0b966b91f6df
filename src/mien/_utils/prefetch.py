"""Read an iterable ahead in a thread of its own."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing, suppress
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

T = TypeVar("T")
_WAKE = 0.1  # seconds; waits without an end would keep Ctrl-C from a thread on Windows, and a reader from ending


def prefetch(source: Generator[T, None, None], size: int) -> Generator[T, None, None]:
    """The items of a generator, which runs in another thread, at most ``size`` items ahead.

    Its error is raised after the items that came before. When the caller leaves early, the generator is closed in its
    thread, and the thread is awaited.
    """
    queue: Queue[T | _End] = Queue(size)
    left = Event()
    thread = Thread(target=_fill, args=(source, queue, left), daemon=True)
    thread.start()
    try:
        while not isinstance(item := _get(queue), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        left.set()
        thread.join()


class _End:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error


def _fill(source: Generator[T, None, None], queue: Queue[T | _End], left: Event) -> None:
    end = _End()
    try:
        with closing(source):
            for item in source:
                if not _put(queue, item, left):
                    return
    except Exception as error:  # raised in the thread that reads the items
        end = _End(error)
    _put(queue, end, left)


def _put(queue: Queue[T | _End], item: T | _End, left: Event) -> bool:
    while not left.is_set():
        with suppress(Full):
            queue.put(item, timeout=_WAKE)
            return True
    return False


def _get(queue: Queue[T | _End]) -> T | _End:
    while True:
        with suppress(Empty):
            return queue.get(timeout=_WAKE)
