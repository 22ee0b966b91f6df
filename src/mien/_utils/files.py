"""Writing files so that no reader ever sees half of one."""

from __future__ import annotations

import errno
import os
import stat
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from mien.errors import DataError

_NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK}
"""What a file system without locks answers."""


def protect(outputs: Iterable[str | Path | None], inputs: Iterable[str | Path | None]) -> None:
    """Refuse outputs that would replace an input or one another; to be called before anything is read or written.

    Args:
        outputs: files and folders to be written; None is passed over.
        inputs: files and folders to be read, addresses among them; checked only where an output exists already.

    Raises:
        DataError: where an output is an input or another output: the same path, a symbolic or hard link to it, or
            the same file by another name.
    """
    targets: dict[object, str | Path] = {}
    for out in outputs:
        if out is not None and targets.setdefault(_identity(out), out) is not out:
            raise DataError("two outputs would go to this file", out, "Name another place for one of them.")
    if any(isinstance(key, tuple) for key in targets):
        for one in inputs:
            if one is not None and (target := targets.get(_identity(one))) is not None:
                raise DataError(f"it would replace the input {one}", target, "Name another place to write to.")


def _identity(path: str | Path) -> object:
    """Device and number of what exists, links followed; of what does not exist, the path."""
    name = os.path.expanduser(path)  # noqa: PTH111 - of an address, Path would drop a slash
    try:
        found = os.stat(name)  # noqa: PTH116
    except OSError:
        return os.path.realpath(name)
    return found.st_dev, found.st_ino


def require_regular(path: Path) -> None:
    """Refuse what is neither a file nor a folder, such as a pipe, whose reader might wait for ever.

    Raises:
        DataError: where it is such.
        OSError: where nothing is there.
    """
    mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        raise DataError("it is no regular file", path, "Save it to a file first.")


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path``, with the same suffix, that takes its name when the block ends well.

    The folder is made where it is missing. Where the block raises, the temporary file is removed and ``path`` stays as
    it was. A killed process leaves the temporary file behind, hidden, as :func:`leftovers` finds it.

    Raises:
        OSError: where the file cannot be written; its ``filename`` is ``path``.
    """
    path = Path(path)
    with _named_after(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=path.suffix)
    os.close(handle)
    temporary = Path(name)
    try:
        with _named_after(path, temporary):
            yield temporary
            _keep_mode(path, temporary)
            _flush(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def leftovers(path: Path) -> list[Path]:
    """The temporary files that killed writers of ``path`` left, and those of writers that are still at it."""
    return list(path.parent.glob(f".{path.stem}-????????{path.suffix}"))


@contextmanager
def locked(path: Path) -> Iterator[bool]:
    """Hold a lock on the file ``path`` within the block; gives whether it was free.

    The lock ends with the process, however that ends; the empty file stays. A file system without locks, and Windows,
    give True to every process.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        yield _lock(file.fileno())


def _lock(handle: int) -> bool:
    if sys.platform == "win32":
        return True
    import fcntl

    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
    return True


@contextmanager
def _named_after(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Give an OSError the final path, where it has the temporary one or none."""
    try:
        yield
    except OSError as error:
        if temporary is None or error.filename in (None, str(temporary)):
            error.filename, error.filename2 = str(path), None
        raise


def part_of(path: Path) -> Path:
    """The file that :func:`growing` gives for ``path``."""
    return path.with_name(f"{path.stem}.part{path.suffix}")


@contextmanager
def growing(path: str | Path) -> Iterator[Path]:
    """A path beside ``path`` for a file that is of use before it is whole, such as ``out.part.csv`` for ``out.csv``.

    The folder is made where it is missing. However the block ends, the file that it left there takes the name of
    ``path``; where it left none, ``path`` stays as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = part_of(path)
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
