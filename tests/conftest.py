"""Fixtures that all tests share."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from mien.cli import main
from mien.data import Faces, load_faces

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Ran:
    """What a command left: exit code, stdout and stderr."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests never touch the user's cache, unless MIEN_CACHE names one on purpose."""
    if "MIEN_CACHE" in os.environ:
        yield
        return
    os.environ["MIEN_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    del os.environ["MIEN_CACHE"]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data: MIEN_SHARED, or ``shared`` beside the repository."""
    path = Path(os.environ.get("MIEN_SHARED", ROOT.parent / "shared"))
    if not (path / "data" / "fer2013.parquet").is_file():
        missing = f"the shared data are not at {path} (set MIEN_SHARED)"
        pytest.fail(missing) if os.environ.get("MIEN_REQUIRE_SHARED") else pytest.skip(missing)
    return path


@pytest.fixture(scope="session")
def fer2013(shared: Path) -> Faces:
    """All 35,887 faces of FER2013, with FER+ votes."""
    return load_faces(shared / "data" / "fer2013.parquet")


@pytest.fixture(scope="session")
def some_faces() -> Faces:
    """42 faces of noise, every label in every known split, with votes; no two alike."""
    rng = np.random.default_rng(7)
    return Faces(
        images=rng.integers(0, 256, (42, 48, 48), dtype=np.uint8),
        emotion=np.arange(42) % 7,
        usage=(np.arange(42) // 14).astype(np.uint8),
        row=np.arange(42),
        votes=rng.integers(0, 11, (42, 10), dtype=np.uint8),
        name="some faces",
    )


@pytest.fixture
def mien(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run ``mien ARGS`` in this process, as the console script would."""

    def run(*args: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["mien", *map(str, args)])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
        captured = capfd.readouterr()
        return Ran(code, captured.out, captured.err)

    return run
