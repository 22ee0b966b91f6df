"""Every error that mien raises on purpose.

::

    MienError              exit code 2: the input or the request is wrong, and the message says how to fix it
    ├── DataError          a data set that cannot be read, or a row of it
    │   └── BadRowError    one row or one image; with skip_bad it is skipped, counted and listed
    ├── ImageError         an image that cannot be read; in a list it becomes a prediction with ``error``
    ├── ModelError         a model bundle that is missing, damaged or does not fit
    │   └── ExportError    an export that is refused, or that answers too differently from its bundle
    ├── WeightsError       the ImageNet weights: absent, damaged, or of another network
    ├── AssetError         a file of the package itself: missing or damaged
    ├── RecipeError        a recipe or a --set that does not hold together
    ├── HubError           the Hugging Face Hub: not reached, refusing, or without a model of mien's
    ├── ServiceError       a service that cannot start, cannot be reached, or refuses a request
    ├── DivergedError      training met a loss that is not a number (exit code 3: the run did start)
    ├── ParallelError      one of the processes that train together is gone (exit code 3)
    └── MissingExtraError  an optional package is not installed
"""

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from types import ModuleType


def printable(text: str | os.PathLike[str]) -> str:
    """A path or text that UTF-8 can write: bytes of names that are no UTF-8 are escaped, as in ``Jos\\xe9.png``."""
    return re.sub("[\ud800-\udfff]", _escaped, os.fspath(text))


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"


class MienError(Exception):
    """An error with its place and its remedy.

    Args:
        what: what is wrong, as a phrase without a full stop.
        where: the file, row or field where it was found.
        mend: what the user can do about it.
    """

    exit_code = 2

    def __init__(self, what: str, where: str | Path | None = None, mend: str | None = None) -> None:
        super().__init__(what, where, mend)
        self.what = printable(what)
        self.where = None if where is None else printable(str(where))
        self.mend = mend

    def __str__(self) -> str:
        """One line: where, what, how to mend it."""
        line = self.what if self.where is None else f"{self.where}: {self.what}"
        return line if self.mend is None else f"{line}. {self.mend}"


class DataError(MienError):
    """A data set that cannot be read."""


class BadRowError(DataError):
    """One unreadable row or image of a data set."""


class ImageError(MienError):
    """An image that cannot be read, or is too large to be safe."""


class ModelError(MienError):
    """A model bundle that is missing, damaged or does not fit."""


class ExportError(ModelError):
    """An export that is refused, or that answers too differently from its bundle."""


class WeightsError(MienError):
    """ImageNet weights that are absent, damaged or of another network."""


class AssetError(MienError):
    """A file of the package itself that is missing or damaged."""


class RecipeError(MienError):
    """A recipe, or a change to one, that does not hold together."""


class HubError(MienError):
    """The Hugging Face Hub cannot be reached, refuses, or holds something else than a model of mien's."""


class DivergedError(MienError):
    """Training met a loss that is not a finite number."""

    exit_code = 3


class ParallelError(MienError):
    """One of the processes that train together is gone."""

    exit_code = 3


class ServiceError(MienError):
    """A service that cannot start, cannot be reached, or refuses a request.

    Args:
        what: what is wrong, as a phrase without a full stop.
        where: the address, file or request.
        mend: what the user can do about it.
        status: the HTTP status of the refusal; None where there was no answer.
        kind: the ``type`` of the problem that the service reported; None where there was none.
    """

    def __init__(
        self,
        what: str,
        where: str | Path | None = None,
        mend: str | None = None,
        status: int | None = None,
        kind: str | None = None,
    ) -> None:
        super().__init__(what, where, mend)
        self.status, self.kind = status, kind


class MissingExtraError(MienError):
    """An optional package is not installed."""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional package, or raise an error that names the extra to install.

    Args:
        module: the module's import name, such as ``"pyarrow.csv"``.
        extra: the extra of this package that installs it, such as ``"train"``.

    Raises:
        MissingExtraError: where the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise MissingExtraError(
            f"this needs the package {package}, which is not installed", mend=f"Run: pip install 'mien[{extra}]'"
        ) from error
