"""SIGKILL at random moments of ``mien score``: whole chunks stay, and the next run ends as an undisturbed one."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mien.data import Faces
from mien.data.writers import convert_faces
from support.disk_fixtures import KILLS, THOROUGH, shown

pytest.importorskip("mien.batch", reason="this version has no mien score")


def start(table: Path, out: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mien", "score", str(table), str(out), "--model", "tiny", "--engine", "local"]
    command += ["--workers", "1", "--batch-size", "16", "--chunk-size", "64"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def test_scoring_goes_on_to_the_same_bytes(drawn: Faces, tmp_path: Path) -> None:
    """A new folder begins when a run ends before it is killed."""
    many = drawn.take(np.tile(np.arange(len(drawn)), 10))
    table = convert_faces(replace(many, row=np.arange(len(many))), tmp_path / "faces.parquet", "parquet")
    begin = time.monotonic()
    with start(table, tmp_path / "whole") as process:
        assert process.wait(120) == 0, process.communicate()
    seconds, whole = time.monotonic() - begin, shown(tmp_path / "whole")
    draw, kills, folder = random.Random(0), 0, 0
    while kills < (KILLS if THOROUGH else 2):
        out = tmp_path / f"{folder}"
        with start(table, out) as process:
            try:
                assert process.wait(draw.uniform(0.3, 0.9) * seconds) == 0, process.communicate()
                folder += 1
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
        found = shown(out)
        assert {name: whole.get(name) for name in found} == found
    with start(table, tmp_path / f"{folder}") as process:
        assert process.wait(120) == 0, process.communicate()
    assert shown(tmp_path / f"{folder}") == whole
