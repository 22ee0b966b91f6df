"""Reading ahead in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator

import pytest

from mien._utils.prefetch import prefetch


def numbers(end: int, read: list[int], error: Exception | None = None) -> Generator[int, None, None]:
    try:
        for number in range(end):
            read.append(number)
            yield number
        if error is not None:
            raise error
    finally:
        read.append(-1)


def test_all_items_come_in_order() -> None:
    assert list(prefetch(numbers(1000, []), 3)) == list(range(1000))


def test_an_error_comes_after_the_items_before_it() -> None:
    items, found = prefetch(numbers(5, [], OSError("no more")), 2), []
    with pytest.raises(OSError, match="no more"):
        found.extend(iter(items.__next__, None))
    assert found == [0, 1, 2, 3, 4]


def test_no_more_than_its_size_is_read_ahead() -> None:
    read: list[int] = []
    items = prefetch(numbers(1000, read), 4)
    assert next(items) == 0
    time.sleep(0.2)
    assert len(read) <= 6  # one given, four waiting, one on its way
    items.close()


def test_leaving_early_closes_the_source_and_ends_the_thread() -> None:
    read: list[int] = []
    before = threading.active_count()
    items = prefetch(prefetch(numbers(1000, read), 2), 2)
    next(items)
    items.close()
    assert read[-1] == -1
    assert threading.active_count() == before
