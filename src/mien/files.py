"""Writing files so that no reader ever sees half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path``, with the same suffix, that takes its name when the block ends well.

    The folder is made where it is missing. Where the block raises, the temporary file goes and ``path`` stays as it
    was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _keep_mode(path, temporary)
        _flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def growing(path: str | Path) -> Iterator[Path]:
    """A path beside ``path`` for a file that is of use before it is whole, such as ``out.part.csv`` for ``out.csv``.

    The folder is made where it is missing. However the block ends, the file that it left there takes the name of
    ``path``; where it left none, ``path`` stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    part.unlink(missing_ok=True)
    try:
        yield part
    finally:
        if part.exists():
            _keep_mode(path, part)
            _flush(part)
            part.replace(path)


def _keep_mode(path: Path, temporary: Path) -> None:
    """mkstemp's files are private; give the file the mode that an ordinary open would have given it."""
    if path.exists():
        temporary.chmod(path.stat().st_mode & 0o777)
    else:
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
