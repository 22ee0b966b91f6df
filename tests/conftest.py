"""Fixtures that all tests share."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import yaml
from hypothesis import settings
from PIL import Image

from mien.cli import main
from mien.data import Faces, load_faces
from mien.data.synthetic import draw_faces
from mien.data.writers import convert_faces

if TYPE_CHECKING:
    from mien.training import Recipe, Run

pytest_plugins = ["support.service_fixtures", "support.disk_fixtures"]
ROOT = Path(__file__).resolve().parent.parent
settings.register_profile("mien", deadline=None)  # how long an example takes is the machine's affair
settings.load_profile("mien")


@dataclass(frozen=True)
class Ran:
    """What a command left: exit code, stdout and stderr."""

    code: int
    out: str
    err: str


LONGEST_FIRST = (
    "training/test_two_hosts.py",
    "test_docs.py",
    "training/test_ddp.py",
    "serving/test_page.py",
    "test_offline.py",
    "batch/test_ray_engine.py",
    "tuning/test_search.py",
    "training/test_resume.py",
    "training/test_first_steps.py",
    "evaluation/report/test_page_of_report.py",
    "cli/test_check_commands.py",
    "cli/test_help.py",
    "test_notebook.py",
    "reliability/test_score_faults.py",
    "training/test_stream.py",
)
"""Files that take half a minute or more: started late, one of them keeps a single process busy at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest files first; all others keep their order."""
    rank = {ROOT / "tests" / name: number for number, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: rank.get(item.path, len(rank)))


def pytest_configure() -> None:
    """Have Ctrl-C heard here and in what tests start, also in a shell's background, where it is ignored."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def process_state() -> dict[str, object]:
    """What one file of tests could leave behind for the next in the same process."""
    handlers = {one.name: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    return {**os.environ, **handlers, "working folder": Path.cwd()}


@pytest.fixture(scope="module", autouse=True)
def _as_it_was(_own_cache: None) -> Iterator[None]:
    """Which file runs after which depends on the machine's pace, so none may change the process for the next.

    Variables of their own that libraries set as they are imported do no harm.
    """
    before = process_state()
    yield
    after = process_state()
    watched = before.keys() - {"PYTEST_CURRENT_TEST"} | {name for name in after if name.startswith("MIEN_")}
    left = {name: after.get(name) for name in watched if before.get(name) != after.get(name)}
    assert not left, f"left changed in this process: {left}"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests share a cache that is not the user's, unless MIEN_CACHE names one on purpose."""
    if "MIEN_CACHE" in os.environ:
        yield
        return
    base = tmp_path_factory.getbasetemp()
    os.environ["MIEN_CACHE"] = str((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache")
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


TINY: dict[str, Any] = {
    "name": "short",
    "summary": "Two short phases of a small MobileNet, for tests.",
    "network": {"name": "mobilenet", "cut": 3},
    "batch_size": 32,
    "augment": {"shift": 0.1, "zoom": 0.1, "flip": True},
    "class_weights": "share",
    "phases": [
        {"name": "head", "train": "head", "epochs": 2, "optimizer": {"name": "adam", "lr": 0.01}},
        {"name": "all", "train": "all", "epochs": 2, "optimizer": {"name": "adam", "lr": 0.001}},
    ],
}
"""A recipe that trains in about a second."""


def tiny_recipe(**changes: object) -> Recipe:
    """The tiny recipe with other settings in place of its own."""
    from mien.training import Recipe

    return Recipe.model_validate({**TINY, **changes})


def write_recipe(path: Path, **changes: object) -> Path:
    """Write the tiny recipe, with other settings in place of its own, as a YAML file."""
    path.write_text(yaml.safe_dump({**TINY, **changes}), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def drawn() -> Faces:
    """150 drawn faces: 120 Training, 15 PublicTest, 15 PrivateTest."""
    return draw_faces(150, seed=3)


@pytest.fixture(scope="session")
def drawn_csv(drawn: Faces, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The drawn faces as a file."""
    return convert_faces(drawn, tmp_path_factory.mktemp("drawn") / "drawn.csv", "csv")


@pytest.fixture
def crops(drawn: Faces, tmp_path: Path) -> list[Path]:
    """Three faces as image files."""
    paths = [tmp_path / name for name in ("a.png", "b.jpg", "c [red].png")]
    for image, path in zip(drawn.images, paths, strict=False):
        Image.fromarray(image).save(path)
    return paths


@pytest.fixture(scope="session")
def tiny_run(drawn: Faces, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The tiny recipe, trained once with seed 1; tests only read its folder."""
    from mien.training import train

    return train(tiny_recipe(), drawn, tmp_path_factory.mktemp("tiny") / "run", seed=1, device="cpu")


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
