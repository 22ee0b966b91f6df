"""Where collections lie: paths of this machine, and addresses such as ``s3://bucket/a.png`` that fsspec reads."""

from __future__ import annotations

import os
from collections.abc import Iterator
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


def joined(base: str, name: str) -> str:
    """A name as it is to be opened: relative ones lie below ``base``, a folder or an address."""
    return name if is_url(name) or Path(name).is_absolute() else f"{base.rstrip('/')}/{name}"


def parent(name: str) -> str:
    """The folder or address that relative names in a list are relative to."""
    return name.rpartition("/")[0] if is_url(name) else str(Path(name).absolute().parent)


def filesystem(address: str) -> tuple[Any, str]:
    """The fsspec file system of an address, and the path in it.

    Raises:
        MissingExtraError: where fsspec, or the package that it needs for this protocol, is not installed.
        DataError: where the address is of no protocol that fsspec knows, or not as its protocol wants it.
    """
    core = require("fsspec.core", "score")
    protocol = address.partition("://")[0]
    try:
        system, path = core.url_to_fs(address)
    except ImportError as error:
        mend = "Install it: s3fs reads s3://, gcsfs reads gs://, adlfs reads abfs://, aiohttp reads http://."
        raise MissingExtraError(f"a package for {protocol}:// is missing ({error})", address, mend) from error
    except Exception as error:  # what their constructors raise has no common base either
        mend = "Name a path, or an address such as s3://bucket/folder."
        raise DataError(f"this address cannot be used ({_reason(error)})", address, mend) from error
    return system, path


def absolute(name: str) -> str:
    """A path whose meaning does not depend on the current folder; addresses are as they are."""
    return name if is_url(name) else os.path.abspath(name)  # noqa: PTH100


def is_folder(name: str) -> bool:
    """Whether a folder lies there.

    Raises:
        DataError: where nothing does, or the file system cannot say.
    """
    if not is_url(name):
        if not Path(name).exists():
            raise DataError("there is no such file or folder", name, "Check the path.")
        return Path(name).is_dir()
    system, path = filesystem(name)
    try:
        if not system.exists(path):
            raise DataError("there is nothing at this address", name, "Check it.")
        return bool(system.isdir(path))
    except Exception as error:  # file systems raise classes of their own (botocore's, aiohttp's) without a common base
        raise _unread(name, error) from error


def walk(folder: str) -> Iterator[str]:
    """Every file below a folder, by its full name, sorted; as :func:`mien.data.walk.walk_files`.

    Raises:
        DataError: where a folder cannot be read.
    """
    return _walk(folder, _DEPTH) if is_url(folder) else walk_files(folder, lambda *_: True)


def _walk(folder: str, depth: int) -> Iterator[str]:
    # With its slash a folder's name sorts as the names below it do among those of its neighbours.
    for name in sorted(_entries(folder)):
        path = f"{folder.rstrip('/')}/{name}"
        if not name.endswith("/"):
            yield path
        elif depth:
            yield from _walk(path.rstrip("/"), depth - 1)


def _entries(folder: str) -> list[str]:
    """The names in a folder at an address, those of folders with a slash behind them."""
    system, path = filesystem(folder)
    try:
        listed = system.ls(path, detail=True)
    except Exception as error:  # as in is_folder
        raise _unread(folder, error) from error
    here = path.rstrip("/")
    below = [one for one in listed if one["name"].rstrip("/") != here]
    found = [(one["name"].rstrip("/").rpartition("/")[2], one["type"] == "directory") for one in below]
    return [f"{name}/" if inside else name for name, inside in found if not is_hidden(name)]


def opened(name: str) -> IO[bytes]:
    """A file, open for reading bytes.

    Raises:
        DataError: where it cannot be opened.
    """
    try:
        if not is_url(name):
            require_regular(Path(name))
            return Path(name).open("rb")
        system, path = filesystem(name)
        return system.open(path, "rb")  # type: ignore[no-any-return]
    except (DataError, MissingExtraError):
        raise
    except Exception as error:  # as in is_folder
        raise _unread(name, error) from error


def source(name: str | None, base: str) -> Source:
    """A picture of a list, as the predictor takes it: a path, or a function that fetches its bytes.

    The function raises an ImageError where that fails.
    """
    if not name:
        return refused("it has no address")
    place = joined(base, name)
    return (lambda: _fetched(place)) if is_url(place) else place


def refused(why: str) -> Source:
    """A picture that is known not to be one; reading it raises an ImageError that says why."""

    def read() -> bytes:
        raise ImageError(why)

    return read


def _fetched(address: str) -> bytes:
    if address.startswith(("http://", "https://")):
        return fetch_image(address)
    try:
        system, path = filesystem(address)
        data: bytes = system.cat_file(path, start=0, end=URL_LIMIT + 1)
    except FileNotFoundError as error:
        raise ImageError("No such file or directory", address) from error
    except Exception as error:  # as in is_folder: one bad address is one row
        raise ImageError(f"it could not be fetched ({_reason(error)})", address) from error
    if len(data) > URL_LIMIT:
        raise ImageError(f"it is larger than {URL_LIMIT:,} bytes", address)
    return data


def _unread(name: str, error: Exception) -> DataError:
    if isinstance(error, DataError):
        return error
    return DataError(f"it cannot be read ({_reason(error)})", name, "Check the name, and that you may read it.")


def _reason(error: Exception) -> str:
    told = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(told).split())[:200]
