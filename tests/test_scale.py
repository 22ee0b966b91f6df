"""docs/scale.md says what results/ say."""

from __future__ import annotations

import subprocess
import sys

from conftest import ROOT


def test_its_tables_are_those_of_the_committed_results() -> None:
    command = [sys.executable, "benchmarks/scale_plan.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
