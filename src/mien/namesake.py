"""Folders that bear the name of their main function: ``mien.train`` and ``mien.evaluate``.

Importing a folder binds it to its name in ``mien``, in place of the function, so the folder itself answers to a call.
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import Any


class _Namesake(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return getattr(self, self.__name__.rpartition(".")[2])(*args, **kwargs)


def answers_as_its_function(module: str) -> None:
    """Let the imported folder ``module``, when called, call its function of the same name."""
    sys.modules[module].__class__ = _Namesake
