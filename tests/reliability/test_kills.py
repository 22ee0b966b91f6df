"""SIGKILL at random moments: what is seen afterwards is whole, and a run goes on to the undisturbed run's result.

MIEN_KILLS says how many processes each test kills: 4 where it is not set, 20 in ``make reliability``. MIEN_KILL_SEED
draws other moments.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from conftest import write_recipe
from mien.data import Faces, load_faces
from mien.export.torchscript import run_script
from mien.models.load import load_bundle
from mien.training import Run
from mien.training.checkpoints import read_phase
from support import kill_jobs
from support.disk_fixtures import KILLS, THOROUGH, shown
from support.interrupted_runs import same_weights

SEED = int(os.environ.get("MIEN_KILL_SEED", "0"))

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked and killed as on Unix")


def told(root: Path, job: str, *arguments: object) -> Iterator[tuple[Path, bool]]:
    """Each folder that a killed process or, last, an undisturbed one has left, and whether it was killed."""
    command = [sys.executable, kill_jobs.__file__, job, KILLS, SEED, root, *arguments]
    settings = {**os.environ, "OMP_NUM_THREADS": "1"}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(list(map(str, command)), text=True, env=settings, **pipes) as process:  # type: ignore[call-overload]
        try:
            for line in process.stdout:
                found = json.loads(line)
                yield Path(found["folder"]), found["killed"]
                process.stdin.write("\n")
                process.stdin.flush()
            assert process.wait(60) == 0, process.stderr.read()
        finally:
            process.kill()


def figures(history: bytes) -> list[list[str]]:
    """A history's cells without the last column, the seconds."""
    return [line.split(",")[:-1] for line in history.decode().splitlines()]


def test_training_goes_on_to_the_same_weights_and_figures(drawn_csv: Path, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "tiny.yaml")
    (tmp_path / "runs").mkdir()
    steps = told(tmp_path / "runs", "train", recipe, drawn_csv)
    whole, _ = next(steps)
    kills, finished, rows = 0, 0, figures((whole / "history.csv").read_bytes())
    for out, killed in steps:
        kills += killed
        files = shown(out)
        assert figures(files.get("history.csv", b"")) == rows[: len(figures(files.get("history.csv", b"")))]
        for done in out.glob("checkpoints/*.safetensors"):
            assert done.name.startswith(".") or read_phase(done)[1]
        if "best.mien" in files:
            assert same_weights(load_bundle(out), load_bundle(whole))
        if not killed:
            finished += 1
            assert figures(files["history.csv"]) == rows
            assert files.keys() == shown(whole).keys()
            assert not [path for path in out.rglob(".*") if path.is_file()]
    assert kills == KILLS
    assert finished >= 1


def test_an_export_is_whole_or_not_there(tiny_run: Run, tmp_path: Path) -> None:
    check_whole(tmp_path, shown, "export", tiny_run.out, "onnx", ".onnx")


@pytest.mark.skipif(not THOROUGH, reason="a slow case, which make reliability runs")
def test_an_export_to_torchscript_is_whole_or_not_there(tiny_run: Run, drawn: Faces, tmp_path: Path) -> None:
    """Its bytes differ from time to time, so its answers are compared."""

    def answers(out: Path) -> object:
        if "model.pt" not in shown(out):
            return None
        return [rows.tolist() for rows in run_script(out / "model.pt", drawn.images[:20])]

    check_whole(tmp_path, answers, "export", tiny_run.out, "torchscript", ".pt")


@pytest.mark.parametrize(("layout", "name"), [("csv", "x.csv"), ("folder", "faces"), ("parquet", "x.parquet")])
def test_a_conversion_is_whole_or_not_there(drawn_csv: Path, tmp_path: Path, layout: str, name: str) -> None:
    check_whole(tmp_path, shown, "convert", drawn_csv, layout, name)
    last = max((path for path in tmp_path.iterdir() if path.name.isdigit()), key=lambda path: int(path.name))
    assert load_faces(last, cache=False).fingerprint == load_faces(drawn_csv).fingerprint


def test_a_cache_entry_is_whole_or_not_there(drawn_csv: Path, tmp_path: Path) -> None:
    check_whole(tmp_path, shown, "cache", drawn_csv)


def check_whole(root: Path, look: Callable[[Path], object], job: str, *arguments: object) -> None:
    """After each kill there is nothing to look at, or all that an undisturbed process leaves; after that, all."""
    steps = told(root, job, *arguments)
    expected = look(next(steps)[0])
    assert expected
    kills, states = 0, set()
    for out, killed in steps:
        kills += killed
        found = look(out)
        if found or not killed:
            assert found == expected
        states.add(bool(found))
    assert kills == KILLS
    assert True in states
