"""A bounded queue between two threads that ends in order: with the last item, with an error, or when nobody listens."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from threading import Condition
from typing import Generic, TypeVar

T = TypeVar("T")
_WAKE = 0.5  # on Windows a waiting thread hears Ctrl-C only when it wakes


class Channel(Generic[T]):
    """From one thread that puts to one that iterates; the putting one waits while the queue is full.

    Args:
        size: how many items it holds at most, at least 1.
    """

    def __init__(self, size: int) -> None:
        if size < 1:
            raise ValueError(f"a channel holds at least 1 item, not {size}")
        self._size = size
        self._items: deque[T] = deque()
        self._change = Condition()
        self._ended = self._abandoned = False
        self._error: Exception | None = None

    def put(self, item: T) -> bool:
        """Add an item, after waiting for room; False where the listener has gone, and nothing more is wanted."""
        with self._change:
            while len(self._items) >= self._size and not self._abandoned:
                self._change.wait(_WAKE)
            if not self._abandoned:
                self._items.append(item)
                self._change.notify_all()
            return not self._abandoned

    def end(self, error: Exception | None = None) -> None:
        """Say that nothing more comes; an error reaches the listener after the items that were put before it."""
        with self._change:
            self._ended, self._error = True, error
            self._change.notify_all()

    def abandon(self) -> None:
        """Say that nobody listens any more; what waits is dropped, and a waiting ``put`` returns."""
        with self._change:
            self._abandoned = True
            self._items.clear()
            self._change.notify_all()

    def __iter__(self) -> Iterator[T]:
        """The items in order, until the end; then the error, if there was one."""
        while True:
            with self._change:
                while not self._items and not self._ended:
                    self._change.wait(_WAKE)
                if not self._items:
                    break
                item = self._items.popleft()
                self._change.notify_all()
            yield item
        if self._error is not None:
            raise self._error
