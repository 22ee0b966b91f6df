"""Paths of this machine, and addresses such as ``s3://bucket/a.png`` that fsspec reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from mien._utils.files import require_regular
from mien.data.decoding import Source
from mien.data.walk import is_hidden, walk_files
from mien.errors import DataError, ImageError, MissingExtraError, require
from mien.inference.inputs import URL_LIMIT, fetch_image

_DEPTH = 32


def is_url(name: str) -> bool:
    """Whether a name is for fsspec: it has a protocol."""
    return "://" in name


def join(base: str, name: str) -> str:
    """A name as it is to be opened: relative ones lie below ``base``, a folder or an address."""
    return name if is_url(name) or Path(name).is_absolute() else f"{base.rstrip('/')}/{name}"


def parent(name: str) -> str:
    """The folder or address that relative names in a list are relative to."""
    return name.rpartition("/")[0] if is_url(name) else str(Path(name).absolute().parent)


def absolute(name: str) -> str:
    """A path whose meaning does not depend on the current folder; addresses are as they are."""
    return name if is_url(name) else os.path.abspath(name)  # noqa: PTH100


def filesystem(address: str) -> tuple[Any, str]:
    """The fsspec file system of an address, and the path in it.

    Raises:
        MissingExtraError: where fsspec, or the package that it needs for this protocol, is not installed.
        DataError: where the address is of no protocol that fsspec supports, or not as its protocol expects it.
    """
    core = require("fsspec.core", "score")
    try:
        system, path = core.url_to_fs(address)
    except ImportError as error:
        mend = "Install it: s3fs reads s3://, gcsfs reads gs://, adlfs reads abfs://, aiohttp reads http://."
        protocol = address.partition("://")[0]
        raise MissingExtraError(f"a package for {protocol}:// is missing ({error})", address, mend) from error
    except Exception as error:  # what their constructors raise has no common base either
        mend = "Name a path, or an address such as s3://bucket/folder."
        raise DataError(f"this address cannot be used ({_reason(error)})", address, mend) from error
    return system, path


def is_folder(name: str) -> bool:
    """Whether a name is a folder's; a DataError where nothing is there, or the file system cannot say."""
    if not is_url(name):
        if not Path(name).exists():
            raise DataError("there is no such file or folder", name, "Check the path.")
        return Path(name).is_dir()
    system, path = filesystem(name)
    with _unreadable(name):
        if not system.exists(path):
            raise DataError("there is nothing at this address", name, "Check it.")
        return bool(system.isdir(path))


def walk(folder: str) -> Iterator[str]:
    """Every file below a folder, by its full name, sorted; a DataError where a folder cannot be read."""
    return _walk(folder, _DEPTH) if is_url(folder) else walk_files(folder, lambda *_: True)


def _walk(folder: str, depth: int) -> Iterator[str]:
    """Unlike fsspec's ``find`` this holds the names of one folder at a time, and sorts files among folders."""
    system, path = filesystem(folder)
    with _unreadable(folder):
        entries = {one["name"].rstrip("/"): one["type"] == "directory" for one in system.ls(path, detail=True)}
    entries.pop(path.rstrip("/"), None)  # object stores list the folder itself, too
    # With its slash a folder's name sorts as the names below it do among those of its neighbours.
    for name in sorted(f"{name.rpartition('/')[2]}{'/' * below}" for name, below in entries.items()):
        if not is_hidden(name.rstrip("/")):
            one = f"{folder.rstrip('/')}/{name}"
            if not name.endswith("/"):
                yield one
            elif depth:
                yield from _walk(one, depth - 1)


def open_file(name: str) -> IO[bytes]:
    """A file, open for reading bytes; a DataError where it cannot be opened."""
    with _unreadable(name):
        if not is_url(name):
            require_regular(Path(name))
            return Path(name).open("rb")
        system, path = filesystem(name)
        return system.open(path, "rb")  # type: ignore[no-any-return]


def source(name: str | None, base: str) -> Source:
    """An image of a list, as the predictor takes it: a path, or a function that fetches it or raises an ImageError."""
    if not name:
        return unreadable("it has no address")
    path = join(base, name)
    return (lambda: _fetch(path)) if is_url(path) else path


def unreadable(why: str) -> Source:
    """An image that is known to be none; reading it raises an ImageError that says why."""

    def read() -> bytes:
        raise ImageError(why)

    return read


def _fetch(address: str) -> bytes:
    if address.startswith(("http://", "https://")):
        return fetch_image(address)
    try:
        system, path = filesystem(address)
        data: bytes = system.cat_file(path, start=0, end=URL_LIMIT + 1)
    except FileNotFoundError as error:
        raise ImageError("No such file or directory", address) from error
    except Exception as error:  # one bad address is one row
        raise ImageError(f"it could not be fetched ({_reason(error)})", address) from error
    if len(data) > URL_LIMIT:
        raise ImageError(f"it is larger than {URL_LIMIT:,} bytes", address)
    return data


@contextmanager
def _unreadable(name: str) -> Iterator[None]:
    try:
        yield
    except (DataError, MissingExtraError):
        raise
    except Exception as error:  # file systems raise classes of their own (botocore's, aiohttp's) without a common base
        raise DataError(f"it cannot be read ({_reason(error)})", name, "Check that you may read it.") from error


def _reason(error: Exception) -> str:
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(reason).split())[:200]
