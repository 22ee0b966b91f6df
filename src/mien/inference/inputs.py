"""From what a user names to files: folders, patterns and, where they are asked for, URLs."""

from __future__ import annotations

import glob
import os
import urllib.error
import urllib.request
from collections.abc import Iterable, Iterator
from pathlib import Path

from mien.data.decoding import IMAGE_SUFFIXES
from mien.errors import DataError, ImageError

URL_LIMIT = 50_000_000
"""The most bytes that are fetched from a URL."""
_DEPTH = 32


def is_url(name: str) -> bool:
    """Whether a name is a web address."""
    return name.lower().startswith(("http://", "https://", "ftp://", "file://"))


def find_images(names: Iterable[str], allow_urls: bool = False) -> list[str]:
    """Every picture that the names mean, in their order; below a folder, sorted by path; none twice.

    Args:
        names: files, folders (searched to the bottom for files with a picture's suffix), patterns such as
            ``"photos/**/*.jpg"``, or URLs. A file that is named stays, be it there or not: reading it gives its error.
        allow_urls: whether http and https addresses may be among them.

    Raises:
        DataError: for a URL that is not allowed, a folder or pattern without a picture.
    """
    found: dict[str, None] = {}
    for name in names:
        found.update(dict.fromkeys(_of(name, allow_urls)))
    return list(found)


def _of(name: str, allow_urls: bool) -> list[str]:
    if is_url(name):
        if not allow_urls:
            raise DataError("URLs are not fetched unless you ask for it", name, "Add --allow-urls.")
        if not name.lower().startswith(("http://", "https://")):
            raise DataError("only http and https addresses are fetched", name, "Name the file by its path.")
        return [name]
    if Path(name).is_dir():
        below = sorted(_walk(name, _DEPTH))
        if not below:
            raise DataError("no picture in this folder", name, f"Pictures end in {', '.join(IMAGE_SUFFIXES)}.")
        return below
    if glob.has_magic(name) and not os.path.lexists(name):
        # Path.glob takes no absolute pattern.
        matching = sorted(path for path in glob.glob(name, recursive=True) if not Path(path).is_dir())  # noqa: PTH207
        if not matching:
            raise DataError("no file fits this pattern", name, "Check it, and quote it against the shell.")
        return matching
    return [name]


def _walk(folder: str, depth: int) -> Iterator[str]:
    """Pictures below a folder; hidden ones are left out, and a loop of links ends at the depth."""
    try:
        entries = list(os.scandir(folder))
    except OSError as error:
        raise DataError(f"this folder cannot be read ({error.strerror})", folder) from error
    for entry in entries:
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if depth:
                yield from _walk(entry.path, depth - 1)
        elif entry.name.lower().endswith(IMAGE_SUFFIXES):
            yield entry.path


def fetch_image(url: str, limit: int = URL_LIMIT) -> bytes:
    """The bytes behind an http or https address.

    Raises:
        ImageError: where they cannot be fetched, or are more than ``limit``.
    """
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            data: bytes = answer.read(limit + 1)
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise ImageError(f"it could not be fetched ({error})", url) from error
    if len(data) > limit:
        raise ImageError(f"it is larger than {limit:,} bytes", url)
    return data
