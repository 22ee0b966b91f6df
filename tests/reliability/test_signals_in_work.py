"""Ctrl-C and SIGTERM while a command works: one line, the exit code that a shell expects, and whole files or none."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mien._utils.files as files
from conftest import Ran, write_recipe
from mien.training import Run, load_recipe, train
from mien.training.module import Classifier
from support.disk_fixtures import THOROUGH
from support.interrupted_runs import same_weights

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


@pytest.mark.parametrize(("number", "code", "line"), SIGNALS)
def test_training_ends_at_once_and_goes_on(
    mien: Mien, tiny_run: Run, drawn_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals, code: int, line: str,
) -> None:  # fmt: skip
    """The signal comes in the fourth step of the second epoch, from within."""
    recipe, out = write_recipe(tmp_path / "tiny.yaml"), tmp_path / "run"
    arguments = ["train", recipe, "--data", drawn_csv, "--out", out, "--seed", 1, "--device", "cpu"]
    before = {one: signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    step, calls = Classifier.training_step, []

    def interrupted(self: Classifier, batch: Any, batch_idx: int) -> Any:
        calls.append(batch_idx)
        if len(calls) == 8:
            signal.raise_signal(number)
        return step(self, batch, batch_idx)

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "training_step", interrupted)
        ran = mien(*arguments)
    assert (ran.code, len(calls)) == (code, 8)
    assert ran.err.splitlines(keepends=True)[-1] == line
    assert ran.err.count("error: ") == 1
    assert len((out / "history.csv").read_text().splitlines()) == 2
    assert not [path for path in out.rglob(".*") if path.is_file()]
    assert {one: signal.getsignal(one) for one in before} == before
    again = train(load_recipe(recipe), drawn_csv, out, seed=1, device="cpu", resume=True)
    assert same_weights(again.bundle, tiny_run.bundle)


@pytest.mark.skipif(not THOROUGH, reason="a slow case, which make reliability runs")
@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize(("number", "code", "line"), SIGNALS)
def test_training_in_processes_of_its_own_ends_as_a_shell_expects(
    drawn_csv: Path, tmp_path: Path, devices: int, number: signal.Signals, code: int, line: str
) -> None:
    phases = [{"name": "all", "train": "all", "epochs": 400, "optimizer": {"name": "adam", "lr": 0.001}}]
    recipe, out = write_recipe(tmp_path / "long.yaml", phases=phases), tmp_path / "run"
    command = [sys.executable, "-m", "mien", "train", str(recipe), "--data", str(drawn_csv), "--out", str(out)]
    command += ["--devices", str(devices), "--device", "cpu"]
    hear = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, **hear) as process:  # type: ignore[call-overload]
        while not (out / "history.csv").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert [found for found in err.splitlines(keepends=True) if " epoch " not in found] == [line]
    assert not [path for path in out.rglob(".*") if path.is_file()]
