"""The fault table in docs/reliability.md is about tests that exist, and results/reliability.json is about the table."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import reliability
from benchmarks.reliability import TABLE

ROOT = Path(__file__).resolve().parent.parent.parent


ROWS: list[dict[str, Any]] = reliability.table_rows(TABLE.read_text(encoding="utf-8"))


def names_in(path: Path) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")}


def test_every_row_names_tests_and_all_of_them_exist() -> None:
    assert len(ROWS) > 30
    for row in ROWS:
        assert row["tests"], row
        for test in row["tests"]:
            file, name = test.split("::")
            assert name in names_in(ROOT / file), test


def test_the_table_has_every_line_of_the_document_that_looks_like_a_row() -> None:
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if "::test_" in line]
    assert len(lines) == len(ROWS)
    assert sum(line.count("::test_") for line in lines) == sum(len(row["tests"]) for row in ROWS)


def test_the_recorded_run_is_of_this_table_and_green() -> None:
    recorded = json.loads((ROOT / "results" / "reliability.json").read_text(encoding="utf-8"))
    assert [(row["fault"], row["where"], row["tests"]) for row in recorded["table"]] == [
        (row["fault"], row["where"], row["tests"]) for row in ROWS
    ]
    assert recorded["green"] == recorded["rows"] == len(ROWS)
    assert all(row["green"] for row in recorded["table"])
    assert recorded["kills"] == 20


@pytest.mark.parametrize(
    ("one", "other", "found"),
    [
        ("passed", "passed", "passed"),
        ("passed", "skipped: no root", "skipped: no root"),
        ("failed", "skipped: no root", "failed"),
    ],
)
def test_the_worst_of_a_tests_cases_counts(one: str, other: str, found: str) -> None:
    assert reliability.worse(one, other) == reliability.worse(other, one) == found


def test_a_case_that_erred_in_its_set_up_has_failed() -> None:
    assert reliability.state(ElementTree.fromstring("<testcase><error/></testcase>")) == "failed"
    assert reliability.state(ElementTree.fromstring("<testcase/>")) == "passed"
    assert reliability.state(ElementTree.fromstring('<testcase><skipped message="why"/></testcase>')) == "skipped: why"
