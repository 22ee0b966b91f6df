"""Fixtures of the fault tests: disks that are small, and places where nothing can be written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

Disk = Callable[[str], Path]
KILLS = int(os.environ.get("MIEN_KILLS", "4"))
"""How many processes each test of SIGKILL kills; ``make reliability`` sets 20."""
THOROUGH = KILLS >= 20
"""Whether the slow cases run, too."""


@contextmanager
def mounted(path: Path, options: str) -> Iterator[Path]:
    path.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=False, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"a small disk needs root and the right to mount: {done.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """Makes disks with the mount options that it is given, such as ``size=1m``; they go after the test."""
    with ExitStack() as stack:
        count = iter(range(99))
        yield lambda options: stack.enter_context(mounted(tmp_path / f"disk-{next(count)}", options))


def remount(disk: Path, options: str) -> None:
    """Change a disk's size, or make it read-only."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True, capture_output=True)


def fill(disk: Path, leave: int = 0) -> Path:
    """Fill a disk up to some bytes; the file that does it."""
    path = disk / "ballast"
    with path.open("wb", buffering=0) as file:
        usage = os.statvfs(disk)
        os.posix_fallocate(file.fileno(), 0, max(1, usage.f_bavail * usage.f_frsize - leave))
    return path


def shown(folder: Path) -> dict[str, bytes]:
    """What a user sees in a folder: every file that is not hidden, by its path, with its bytes."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    named = {path.relative_to(folder): path for path in found}
    return {
        name.as_posix(): path.read_bytes()
        for name, path in named.items()
        if not any(part.startswith(".") for part in name.parts)
    }
