"""``mien export`` as a user runs it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import mien.export.exporter as exporting
from conftest import Ran
from mien.data import Faces
from support.bundles import constant_int8

if TYPE_CHECKING:
    from mien.training import Run

Mien = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MIEN_DATA", raising=False)


def test_json_names_files_figures_and_sums(mien: Mien, tiny_run: Run, tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.onnx"
    ran = mien("export", tiny_run.out, path, "--json")
    assert (ran.code, ran.err) == (0, "")
    found = json.loads(ran.out)
    assert (found["path"], found["to"], found["bytes"]) == (str(path), "onnx", path.stat().st_size)
    assert found["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert tiny_run.bundle is not None
    assert found["bundle"]["sha256"] == tiny_run.bundle.sha256
    assert found["check"]["passed"] is True


def test_it_prints_what_was_measured(mien: Mien, tiny_run: Run, tmp_path: Path) -> None:
    ran = mien("export", tiny_run.out, tmp_path / "x.pt", "--to", "torchscript")
    assert (ran.code, ran.err) == (0, "")
    assert "largest difference of a probability" in ran.out
    assert "(at most 0.0001) on 128 faces of drawn faces" in ran.out


def test_int8_prints_its_table_or_is_refused_with_the_figure(
    mien: Mien, tiny_run: Run, drawn_csv: Path, drawn: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.onnx"
    command = ["export", tiny_run.out, path, "--to", "onnx-int8", "--data", drawn_csv]
    monkeypatch.setattr(exporting, "DROP", 0.14)
    ran = mien(*command)
    assert ran.code == 0, ran.err
    assert "drawn.csv, PublicTest: 15 faces" in ran.out
    path.unlink()
    monkeypatch.setattr(exporting, "quantized", constant_int8)
    monkeypatch.setattr(exporting, "DROP", -1.0)  # fifteen faces cannot tell a ruined model from a poor one
    monkeypatch.setattr(exporting, "FACES", -15)
    ran = mien(*command)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert "points of accuracy on PublicTest, and -100 is the most that passes. Nothing was written." in ran.err
    assert not list(tmp_path.iterdir())


def test_int8_without_data_is_one_line(mien: Mien, tiny_run: Run, tmp_path: Path) -> None:
    ran = mien("export", tiny_run.out, tmp_path / "x.onnx", "--to", "onnx-int8")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "error: int8 needs faces for calibration and evaluation. Name a data set with --data, or in MIEN_DATA.\n"
    )
