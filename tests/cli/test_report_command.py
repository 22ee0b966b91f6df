"""``mien report`` and ``mien show --attribution`` as a user runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from conftest import Ran

if TYPE_CHECKING:
    from mien.training import Run

Mien = Callable[..., Ran]


def test_report_writes_a_page_and_prints_the_figures(
    mien: Mien, tiny_run: Run, drawn_csv: Path, tmp_path: Path
) -> None:
    out = tmp_path / "deep" / "report.html"
    ran = mien("report", tiny_run.out, "--data", drawn_csv, "--out", out, "--compare", tiny_run.out, "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert (found["report"], found["bytes"]) == (str(out), out.stat().st_size)
    assert found["splits"]["PrivateTest"]["n"] == 15
    assert len(found["compared"]) == 1
    assert out.read_text(encoding="utf-8").startswith("<!doctype html>")
    plain = mien("report", tiny_run.out, "--data", drawn_csv, "--out", out, "--split", "PrivateTest")
    assert (plain.code, plain.err) == (0, "")
    assert f"{found['splits']['PublicTest']['accuracy']:.2%}" in plain.out
    assert f"wrote {out} (" in plain.out
    assert "faces of PrivateTest" in plain.out


def test_report_says_on_stderr_what_it_cannot_show(mien: Mien, tiny_run: Run, drawn_csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    ran = mien("report", tiny_run.out, "--data", drawn_csv, "--out", out, "--compare", tmp_path / "none")
    assert ran.code == 0
    assert "A model cannot be compared" in ran.err
    assert out.is_file()


def test_report_refuses_in_one_line(mien: Mien, tiny_run: Run, drawn_csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "report.html"
    for arguments, words in (
        (("none.mien", "--data", drawn_csv), "no such model"),
        ((tiny_run.out, "--data", drawn_csv, "--split", "Private"), "there is no split 'Private'"),
    ):
        ran = mien("report", *arguments, "--out", out)
        assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
        assert words in ran.err
    assert not out.exists()


def test_show_with_attribution_adds_a_picture(mien: Mien, tiny_run: Run, drawn_csv: Path, tmp_path: Path) -> None:
    sizes = []
    for more in ((), ("--attribution",)):
        out = tmp_path / "face.png"
        ran = mien("show", tiny_run.out, out, "--data", drawn_csv, "--index", 3, *more)
        assert ran.code == 0, ran.err
        with Image.open(out) as picture:
            sizes.append(picture.size)
    assert sizes[1][0] > sizes[0][0]
    assert sizes[1][1] == sizes[0][1]
