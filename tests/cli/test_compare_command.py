"""``mien compare`` as a user runs it."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from conftest import Ran
from mien.data import Faces

if TYPE_CHECKING:
    from mien.training import Run

Mien = Callable[..., Ran]


@pytest.fixture
def happy(drawn: Faces, tmp_path: Path) -> Path:
    """A file of answers that calls every PrivateTest face Happy."""
    path = tmp_path / "happy.csv"
    path.write_text("\n".join(["row,emotion", *(f"{row},Happy" for row in drawn.select("PrivateTest").row)]))
    return path


def test_the_table_has_a_line_a_side(mien: Mien, tiny_run: Run, drawn_csv: Path, happy: Path, tmp_path: Path) -> None:
    script = tmp_path / "copy.py"
    script.write_text(f"import shutil, sys; shutil.copy({str(happy)!r}, sys.argv[2])")
    peer = f"copied={shlex.join([sys.executable, str(script)])}"
    ran = mien("compare", tiny_run.out, happy, "--peer", peer, "--data", drawn_csv)
    assert (ran.code, ran.err) == (0, "")
    assert "drawn.csv, PrivateTest: 15 faces, 15 of them not also in Training (clean)" in ran.out
    lines = {line.split("│")[1].strip(): line.split("│")[2:-1] for line in ran.out.splitlines() if "│" in line}
    assert list(lines) == ["short", "happy", "copied"]
    assert lines["happy"] == lines["copied"]
    assert lines["short"][-1].strip() == ""
    assert all(cell.strip() for cell in lines["happy"])


def test_json_is_one_document(mien: Mien, drawn_csv: Path, drawn: Faces, happy: Path) -> None:
    ran = mien("compare", happy, "--data", drawn_csv, "--json")
    assert (ran.code, ran.err) == (0, "")
    found = json.loads(ran.out)
    assert set(found) == {"data", "split", "n", "clean", "rows", "ferplus_filter"}
    assert found["data"] == {"name": "drawn.csv", "fingerprint": drawn.fingerprint}
    assert found["rows"][0]["accuracy"] == float((drawn.select("PrivateTest").emotion == 3).mean())


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ([], "nothing to compare"),
        (["--peer", "nameless"], "--peer: 'nameless' is not NAME=COMMAND"),
        (["--peer", "x=/no/such/program"], "peer x: its command cannot be run"),
        (["gone.csv"], "gone.csv: it cannot be read"),
        (["no-such-model"], "no-such-model: no such model"),
    ],
)
def test_a_refusal_is_one_line(mien: Mien, drawn_csv: Path, arguments: list[str], fault: str) -> None:
    ran = mien("compare", *arguments, "--data", drawn_csv)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert ran.err.startswith(f"error: {fault}")


def test_a_bad_line_is_named(mien: Mien, drawn_csv: Path, happy: Path) -> None:
    happy.write_text(happy.read_text().replace("Happy", "Smug", 1))
    ran = mien("compare", happy, "--data", drawn_csv)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert f"{happy}: line 2: 'Smug' is none of the seven emotions" in ran.err
