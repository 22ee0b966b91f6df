"""ONNX Runtime without its telemetry; all of the package imports it from here."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakSet

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read once, when the library is loaded

import onnxruntime

__all__ = ["PerProcess", "onnxruntime"]

T = TypeVar("T")


class PerProcess(Generic[T]):
    """What each process makes for itself: a pickle, a deep copy and a fork take only the function that makes it.

    Args:
        make: makes it, on the first call in each process; a function that pickles.
    """

    def __init__(self, make: Callable[[], T]) -> None:
        self._make = make
        self._made: T | None = None
        _all.add(self)

    def __call__(self) -> T:
        """It; safe to call from several threads, of which two that come first may each make one."""
        if (made := self._made) is None:
            self._made = made = self._make()
        return made

    def __reduce__(self) -> tuple[type[PerProcess[T]], tuple[Callable[[], T]]]:
        return PerProcess, (self._make,)

    def _forget(self) -> None:
        # Its threads are not in this process, and to end it would wait for them: it must never be ended here.
        if self._made is not None:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._made))
        self._made = None


_all: WeakSet[PerProcess[Any]] = WeakSet()


def _forget_all() -> None:
    for one in _all:
        one._forget()


if hasattr(os, "register_at_fork"):  # not on Windows
    os.register_at_fork(after_in_child=_forget_all)
