"""Figures by group."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import Ran
from mien.data import Faces
from mien.errors import BadRowError, DataError, MienError
from mien.evaluation.groups import group_figures, pixel_sha256, read_groups, wilson
from mien.training import Run

Mien = Callable[..., Ran]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_rows_and_keys_say_the_same(some_faces: Faces, tmp_path: Path) -> None:
    part = some_faces.select("PublicTest")
    ages = ["young" if row % 2 else "old" for row in part.row]
    by_row = write(
        tmp_path / "a.csv", "row,age,place", *(f"{row},{age}," for row, age in zip(part.row, ages, strict=True))
    )
    keys = [pixel_sha256(image).upper() for image in part.images]
    by_key = write(tmp_path / "b.csv", "age,sha256", *(f"{age},{key}" for key, age in zip(keys, ages, strict=True)))
    assert read_groups(by_row, some_faces, part) == {"age": ages, "place": [""] * 14}
    assert read_groups(by_key, some_faces, part) == {"age": ages}
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(arrow.table({"row": part.row, "age": [*ages[:-1], None]}), tmp_path / "c.parquet")
    assert read_groups(tmp_path / "c.parquet", some_faces, part) == {"age": [*ages[:-1], ""]}


def test_faces_of_other_splits_are_passed_over(some_faces: Faces, tmp_path: Path) -> None:
    part = some_faces.select("PrivateTest")
    path = write(tmp_path / "a.csv", "row,age", *(f"{row},x" for row in some_faces.row))
    assert read_groups(path, some_faces, part) == {"age": ["x"] * 14}


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["row,age", "14,a", "99,b"], r"line 3: some faces has no face with the row '99'"),
        (["row,age", "14,a", "14,b"], "line 3: row 14 is on line 2 already"),
        (["row,age", "14,a,b"], "line 2: it has 3 fields, the header 2"),
        (["face,age", "14,a"], "it has the columns face, age"),
        (["row", "14"], "it has the columns row"),
        ([""], r"it has the columns \(none\)"),
        (["row,age,age", "14,a,b"], "two of its columns"),
        (["row,age", "0,a"], "states the group of no face of the split"),
        (["row,age", "14,"], "states the group of no face of the split"),
    ],
)
def test_tables_that_do_not_fit(some_faces: Faces, tmp_path: Path, lines: list[str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_groups(write(tmp_path / "a.csv", *lines), some_faces, some_faces.select("PublicTest"))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(some_faces: Faces, tmp_path: Path, data: bytes) -> None:
    for name in ("a.csv", "a.parquet"):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(MienError):
            read_groups(tmp_path / name, some_faces, some_faces.select("PublicTest"))


def test_figures_are_those_of_each_group_alone(some_faces: Faces) -> None:
    faces = some_faces.take(np.arange(42))
    probabilities = np.eye(7)[faces.emotion]
    groups = {"side": ["left"] * 20 + ["right"] * 20 + ["few", ""]}
    probabilities[20:30] = np.roll(probabilities[20:30], 1, axis=1)
    found = group_figures(groups, faces, probabilities)["side"]
    assert found["groups"]["left"]["accuracy"] == 1
    assert found["groups"]["right"]["accuracy"] == 0.5
    assert found["groups"]["right"]["interval"] == wilson(10, 20)
    assert found["not_stated"] == 1
    gap = found["gap"]
    assert (gap["highest"], gap["lowest"], gap["difference"]) == ("left", "right", 0.5)
    assert gap["interval"][0] > 0  # twenty against ten of twenty is no accident
    assert gap["interval"][1] <= 1


def test_wilson_is_that_of_the_textbook() -> None:
    """Newcombe 1998, table I: 81 of 263 gives 0.2553 to 0.3662."""
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0, 20)[0] == 0


def test_newcombe_is_that_of_the_textbook(some_faces: Faces) -> None:
    """Newcombe 1998, table II, (a) 56/70 - 48/80 by method 10: 0.0524 to 0.3339."""
    from mien.evaluation.groups import _gap

    found = {name: {"n": n, "accuracy": hits / n, "interval": wilson(hits, n)}
             for name, hits, n in (("a", 56, 70), ("b", 48, 80))}  # fmt: skip
    gap = _gap(found)
    assert gap is not None
    assert gap["interval"] == pytest.approx((0.0524, 0.3339), abs=1e-4)


def test_the_command(mien: Mien, tiny_run: Run, drawn: Faces, drawn_csv: Path, tmp_path: Path) -> None:
    test = drawn.select("PublicTest")
    path = write(tmp_path / "g.csv", "row,hat", *(f"{row},{'yes' if row % 3 else 'no'}" for row in test.row))
    ran = mien("evaluate", tiny_run.out, "--data", drawn_csv, "--groups", path)
    assert ran.code == 0, ran.err
    assert "by hat" in ran.out
    said = json.loads(mien("evaluate", tiny_run.out, "--data", drawn_csv, "--groups", path, "--json").out)
    assert sum(one["n"] for one in said["groups"]["hat"]["groups"].values()) == 15
    write(path, "row,hat", "100000,yes")
    ran = mien("evaluate", tiny_run.out, "--data", drawn_csv, "--groups", path)
    assert (ran.code, len(ran.err.splitlines())) == (2, 1)
    assert "has no face with the row '100000'" in ran.err
    assert BadRowError.exit_code == 2
