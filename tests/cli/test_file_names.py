"""Names of files that are no UTF-8: escaped wherever they are written, and no row is lost."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow.parquet as pq
import pytest
from PIL import Image

from mien.data import Faces

if TYPE_CHECKING:
    from conftest import Ran
    from mien.training import Run

NAME, SHOWN = os.fsdecode(b"Jos\xe9.png"), "Jos\\xe9.png"


@pytest.fixture
def folder(tmp_path: Path, drawn: Faces) -> Path:
    """A data set of two classes with one such name in each, and one such folder."""
    for label, word in enumerate(("happy", "sad")):
        for name in (NAME, "a.png", "b.png"):
            path = tmp_path / os.fsdecode(b"caf\xe9") / word / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn.images[label + 3 * len(name)]).save(path)
    return tmp_path / os.fsdecode(b"caf\xe9")


def test_predict_writes_every_row(mien: Callable[..., Ran], folder: Path, tiny_run: Run, tmp_path: Path) -> None:
    out = [tmp_path / name for name in ("a.csv", "a.parquet", "copies")]
    options = ["--csv", str(out[0]), "--parquet", str(out[1]), "--annotate", str(out[2]), "--detector", "none"]
    ran = mien("predict", str(folder), "--model", str(tiny_run.out), *options, "--json")
    assert ran.code == 0, ran.err
    paths = [json.loads(line)["path"] for line in ran.out.splitlines()]
    assert len(paths) == 6
    assert sum(path.endswith(SHOWN) and "caf\\xe9" in path for path in paths) == 2
    assert [row["path"] for row in csv.DictReader(out[0].open(encoding="utf-8"))] == paths
    assert pq.read_table(out[1])["path"].to_pylist() == paths
    assert len(list(out[2].iterdir())) == 6


def test_predict_prints_them(mien: Callable[..., Ran], folder: Path, tiny_run: Run) -> None:
    (folder / NAME).write_text("no image")
    one = mien("predict", str(folder / "sad" / NAME), "--model", str(tiny_run.out), "--detector", "none")
    assert (one.code, SHOWN in one.out) == (0, True)
    ran = mien("predict", str(folder), "--model", str(tiny_run.out), "--detector", "none")
    assert (ran.code, SHOWN in ran.out) == (1, True)
    assert f"{SHOWN}: it is not a readable image" in ran.err


@pytest.mark.parametrize("job", ["info", "check", "convert"])
def test_data_commands_read_them(mien: Callable[..., Ran], folder: Path, tmp_path: Path, job: str) -> None:
    extra = {"info": ["--json"], "check": ["--json"], "convert": [str(tmp_path / "out.parquet"), "--to", "parquet"]}[
        job
    ]
    ran = mien("data", job, str(folder), *extra)
    assert ran.code == 0, ran.err
    if job != "convert":
        json.loads(ran.out)
    (folder / "sad" / NAME).write_text("no image")
    bad = mien("data", job, str(folder), *extra)
    assert bad.code == (0 if job == "check" else 2)  # it lists them
    assert f"{SHOWN}: it is not a readable image" in bad.err
    assert job == "check" or mien("data", job, str(folder), "--skip-bad", *extra).code == 0


def test_score_writes_every_row(mien: Callable[..., Ran], folder: Path, tmp_path: Path) -> None:
    (folder / "notes.txt").write_text("no image")
    out = tmp_path / "scores.parquet"
    ran = mien("score", str(folder), str(out), "--model", "tiny", "--engine", "local", "--workers", "1", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out)["unread"] == {".txt": 1}
    assert "not read: 1 file (.txt: 1)" in ran.err
    assert sum(uri.endswith(SHOWN) for uri in pq.read_table(out)["uri"].to_pylist()) == 2


def test_a_pipe_is_an_error_at_once(mien: Callable[..., Ran], tmp_path: Path, tiny_run: Run) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    ran = mien("predict", str(tmp_path / "pipe.png"), "--model", str(tiny_run.out))
    assert (ran.code, "pipe.png: it is no regular file" in ran.err) == (1, True)
    assert mien("data", "info", str(tmp_path / "pipe.png")).code == 2


def test_what_a_folder_holds_beside_images_is_reported(
    mien: Callable[..., Ran], folder: Path, tmp_path: Path, tiny_run: Run
) -> None:
    (folder / "clip.mp4").write_bytes(b"x")
    ran = mien("predict", str(folder), "--model", str(tiny_run.out), "--detector", "none")
    assert "not read: 1 file (.mp4: 1)" in ran.err
    notes = json.loads(mien("data", "info", str(folder), "--json").out)["notes"]
    assert "not read: 1 file (.mp4: 1)" in notes


@pytest.mark.parametrize("suffix", [".tiff", ".jfif", ".gif", ".avif", ".jp2", ".tga"])
def test_classes_of_ones_own_take_every_suffix(
    mien: Callable[..., Ran], tmp_path: Path, drawn: Faces, suffix: str
) -> None:
    """Such files used to be left out without a word."""
    for number, word in enumerate(("awake", "asleep")):
        (tmp_path / word).mkdir()
        form = {".jfif": "JPEG"}.get(suffix)
        for i in range(4):
            Image.fromarray(drawn.images[4 * number + i]).save(tmp_path / word / f"{i}{suffix}", form)
    assert json.loads(mien("data", "info", str(tmp_path), "--json").out)["rows"] == 8
