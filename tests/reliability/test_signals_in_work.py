"""Ctrl-C and SIGTERM while a command works: one line, the exit code that a shell expects, and whole files or none."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mien.files as files
from conftest import Ran, write_recipe
from mien.model.bundle import load_bundle
from mien.train import Run

Mien = Callable[..., Ran]
SIGNALS = [(signal.SIGINT, 130, "error: interrupted\n"), (signal.SIGTERM, 143, "error: terminated\n")]
COMMANDS: dict[str, Callable[[Run, Path, Path], list[object]]] = {
    "convert": lambda run, data, out: ["data", "convert", data, out / "x.parquet", "--to", "parquet"],
    "export": lambda run, data, out: ["export", run.out, out / "x.onnx"],
    "report": lambda run, data, out: ["report", run.out, "--data", data, "--out", out / "x.html"],
}


@pytest.mark.parametrize(("number", "code", "line"), SIGNALS)
@pytest.mark.parametrize("name", COMMANDS)
def test_a_signal_before_the_last_step_leaves_the_old_file(
    mien: Mien, tiny_run: Run, drawn_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    name: str, number: signal.Signals, code: int, line: str,
) -> None:  # fmt: skip
    """The signal comes when the file is written and has not taken its name yet."""
    arguments = COMMANDS[name](tiny_run, drawn_csv, tmp_path)
    target = next(path for path in arguments if isinstance(path, Path) and path.parent == tmp_path)
    target.write_text("old")
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    flush = files._flush

    def interrupted(path: Path) -> None:
        flush(path)
        if path.parent == tmp_path:
            signal.raise_signal(number)

    monkeypatch.setattr(files, "_flush", interrupted)
    ran = mien(*arguments)
    assert (ran.code, ran.err) == (code, line)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {target.name: "old"}
    assert {one: signal.getsignal(one) for one in before} == before


def started(*arguments: object) -> subprocess.Popen[str]:
    """``mien ARGS`` in a process of its own, which hears Ctrl-C even where this one was started to ignore it."""
    command = [sys.executable, "-m", "mien", *map(str, arguments)]
    settings: dict[str, Any] = {"env": {**os.environ, "OMP_NUM_THREADS": "1"}, "text": True}
    hear = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **settings, **hear)


@pytest.mark.parametrize(("number", "code", "line"), SIGNALS)
def test_training_ends_at_once_and_goes_on(
    mien: Mien, tiny_run: Run, drawn_csv: Path, tmp_path: Path, number: signal.Signals, code: int, line: str
) -> None:
    recipe, out = write_recipe(tmp_path / "tiny.yaml"), tmp_path / "run"
    arguments = ["train", recipe, "--data", drawn_csv, "--out", out, "--seed", 1, "--device", "cpu"]
    with started(*arguments) as process:
        while not (out / "history.csv").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert err.splitlines(keepends=True)[-1] == line
    assert err.count("error: ") == 1
    assert "Traceback" not in err
    assert not [path for path in out.rglob(".*") if path.is_file()]
    assert mien(*arguments, "--resume").code == 0
    assert tiny_run.bundle is not None
    found = load_bundle(out).weights
    assert all(np.array_equal(array, found[name]) for name, array in tiny_run.bundle.weights.items())
