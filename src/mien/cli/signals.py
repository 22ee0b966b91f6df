"""Ctrl-C and other signals: the first lets a command finish its files, the second ends it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")  # the last is not known on Windows


class Terminated(BaseException):
    """SIGTERM has come."""


@contextmanager
def terminable() -> Iterator[None]:
    """Within the block SIGTERM raises :class:`Terminated`, so that temporary files go as the blocks around them end.

    Whoever handles the signal already, or was started to ignore it, goes on with that.
    """

    def handle(_number: int, _frame: FrameType | None) -> None:
        raise Terminated

    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def leave_sigterm() -> None:
    """Take back what :func:`terminable` did, for a command that ends in order by itself."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


class Stop:
    """Whether a signal has come.

    Attributes:
        event: is set once one has.
        signal: its number; 0 before.
    """

    def __init__(self) -> None:
        self.event = Event()
        self.signal = 0

    @property
    def exit_code(self) -> int:
        """What a shell expects of a command that a signal has ended: 128 and its number; 130 for Ctrl-C."""
        return 128 + self.signal


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Within the block the first Ctrl-C, SIGTERM or SIGHUP sets an event; another raises KeyboardInterrupt.

    Signals that the process was started to ignore stay ignored, as under ``nohup``.
    """
    stop = Stop()

    def handle(number: int, _frame: FrameType | None) -> None:
        if stop.signal:
            raise KeyboardInterrupt
        stop.signal = number
        stop.event.set()

    numbers = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]
    before = {one: signal.getsignal(one) for one in numbers if signal.getsignal(one) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, handle)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
