"""The files of a user's arguments: folders, patterns and, where allowed, URLs."""

from __future__ import annotations

import glob
import os
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from mien.data.decoding import IMAGE_SUFFIXES
from mien.data.walk import is_hidden, no_images, walk_files
from mien.errors import DataError, ImageError

URL_LIMIT = 50_000_000
"""The most bytes that are fetched from a URL."""


def is_url(name: str) -> bool:
    """Whether a name is a web address."""
    return name.lower().startswith(("http://", "https://", "ftp://", "file://"))


def find_images(names: Iterable[str], allow_urls: bool = False, unread: Counter[str] | None = None) -> list[str]:
    """Every image of the arguments, in their order; below a folder, sorted by path; none twice.

    Args:
        names: files, folders (searched to the bottom for files with a image's suffix), patterns such as
            ``"photos/**/*.jpg"``, or URLs. A missing file stays in the list: reading it raises its error.
        allow_urls: whether http and https addresses may be among them.
        unread: counts the files of the folders that are not read, by the ends of their names.

    Raises:
        DataError: for a URL that is not allowed, a folder or pattern without an image.
    """
    found: dict[str, str] = {}
    for name in names:
        for one in _of(name, allow_urls, Counter() if unread is None else unread):
            found.setdefault(one if is_url(one) else os.path.realpath(one), one)
    return list(found.values())


def _of(name: str, allow_urls: bool, unread: Counter[str]) -> list[str]:
    if is_url(name):
        if not allow_urls:
            raise DataError("URLs are not fetched unless allowed", name, "Add --allow-urls.")
        if not name.lower().startswith(("http://", "https://")):
            raise DataError("only http and https addresses are fetched", name, "Name the file by its path.")
        return [name]
    if Path(name).is_dir():
        below = list(walk_files(name, unread=unread))
        if not below:
            raise no_images(name, unread, f"Images end in {', '.join(IMAGE_SUFFIXES)}.")
        return below
    if glob.has_magic(name) and not os.path.lexists(name):
        matching = sorted(_matching(Path(name)))
        if not matching:
            raise DataError("no file fits this pattern", name, "Check it, and quote it against the shell.")
        return matching
    return [name]


def _matching(pattern: Path) -> Iterator[str]:
    """The regular files that fit a pattern; ``**`` follows no links, and hidden names are left out, as in a shell."""
    base = Path(pattern.anchor)
    means_hidden = any(part.startswith(".") for part in pattern.parts)
    for path in base.glob(str(pattern.relative_to(pattern.anchor))):
        if path.is_file() and (means_hidden or not any(map(is_hidden, path.parts))):
            yield str(path)


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
