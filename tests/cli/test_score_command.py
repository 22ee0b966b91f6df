"""``mien score`` as a user runs it: a summary, one line for what is wrong, and exit codes."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Ran
from support.collections_of_images import BAD, expected, images, rows_of, write_images

Mien = Callable[..., Ran]
OPTIONS = ("--model", "tiny", "--batch-size", 16, "--chunk-size", 32, "--engine", "local", "--workers", 1)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("input") / "a.parquet", images(120))


def test_it_scores_says_so_and_knows_when_it_is_done(mien: Mien, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.parquet"
    ran = mien("score", table, out, *OPTIONS)
    assert ran.code == 0
    assert ran.out.startswith(f"{out}: 120 rows by tiny; ")
    assert ran.err == "note: 2 of 120 rows have an error; the column error says which\n"
    assert rows_of(out) == expected("tiny", [f"{table}#{row}" for row in range(120)], images(120))
    ran = mien("score", table, out, *OPTIONS, "--json")
    summary = json.loads(ran.out)
    assert (ran.code, summary["rows"], summary["existing"], summary["errors"], summary["engine"]) == (
        0,
        120,
        120,
        2,
        "none",
    )
    assert set(summary) >= {
        "out",
        "model",
        "sha256",
        "detector",
        "workers",
        "chunks",
        "seconds",
        "rows_a_second",
        "stopped",
    }
    assert len([row for row in BAD if row < 120]) == summary["errors"]


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["none.txt", "out"], "there is no such file or folder"),
        (["TABLE", "out", "--model", "none"], "no such model"),
        (["TABLE", "out", "--detector", "haar"], "no detector 'haar'"),
        (["TABLE", "out", "--min-face", "40"], "has no smallest face"),
        (["TABLE", "TABLE"], "inside the input"),
        (["TABLE", "out", "--address", "127.0.0.1:1", "--engine", "local"], "only Ray has an address"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    mien: Mien, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = mien("score", *[str(table) if one == "TABLE" else one for one in arguments])
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert what in ran.err
    assert list(tmp_path.iterdir()) == []


def test_without_ray_the_engine_is_reported_missing(
    mien: Mien, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("ray", "ray.data"):
        monkeypatch.setitem(sys.modules, name, None)
    ran = mien("score", table, tmp_path / "out", "--engine", "ray")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "pip install 'mien[ray]'" in ran.err
    assert not (tmp_path / "out").exists()


def test_sigterm_ends_it_in_order(table: Path, tmp_path: Path) -> None:
    out, many = tmp_path / "out", tmp_path / "many.parquet"
    write_images(many, images(120) * 40)
    options = ["--model", "tiny", "--chunk-size", "64", "--engine", "local", "--workers", "1"]
    command = [sys.executable, "-m", "mien", "score", str(many), str(out), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(list(out.glob("part-*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    printed, errors = process.communicate(timeout=30)
    rows = sum(1 for _ in rows_of(out))
    assert process.returncode == 143
    assert "Traceback" not in errors
    assert errors.splitlines()[-1] == f"error: interrupted with {rows:,} rows done; the same command goes on from there"
    assert f"{rows:,} rows by tiny" in printed


def test_another_output_is_another_job(mien: Mien, table: Path, tmp_path: Path) -> None:
    out = tmp_path / "scores.parquet"
    assert mien("score", table, out, *OPTIONS).code == 0
    ran = mien("score", table, out, *OPTIONS, "--output", "fer2013")
    assert (ran.code, ran.out) == (2, "")
    assert "output" in ran.err
    assert mien("score", table, tmp_path / "labels.parquet", *OPTIONS, "--output", "fer2013").code == 0
    default, labels = (rows_of(one) for one in (out, tmp_path / "labels.parquet"))
    assert [row["row"] for row in default] == [row["row"] for row in labels]
    assert default != labels
