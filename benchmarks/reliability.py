"""Run every test of the fault table in docs/reliability.md and say which rows are green.

Usage: python -m benchmarks.reliability [--kills N] [--json OUT]

A row is green where all its tests passed; a skipped test is not green. The exit code is 1 where a row is not.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from pathlib import Path

from benchmarks.report import ROOT, command, write_report

TABLE = ROOT / "docs" / "reliability.md"
TEST = re.compile(r"`(tests/[\w/]+\.py::\w+)`")
COLUMNS = ("fault", "where", "outcome")


def table_rows(text):
    """The table's rows, each with its tests' ids."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and not line.startswith("| fault |")]
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]
    return [dict(zip(COLUMNS, row[:3], strict=True)) | {"tests": TEST.findall(row[3])} for row in cells]


def run(tests, kills):
    """Each test's state ("passed", "failed" or "skipped: why") and seconds, its parameters taken together."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", f"--junitxml={report}", "-o", "junit_family=xunit1", *tests]
        settings = {**os.environ, "MIEN_KILLS": str(kills)}
        subprocess.run(command, cwd=ROOT, env=settings, stdout=sys.stderr, check=False)
        cases = list(ElementTree.parse(report).iter("testcase"))
    states, seconds, counts = {}, defaultdict(float), defaultdict(int)
    for case in cases:
        name = f"{case.get('file')}::{case.get('name').partition('[')[0]}"
        states[name] = worse(states.get(name, "passed"), state(case))
        seconds[name] += float(case.get("time"))
        counts[name] += 1
    return {name: {"state": states.get(name, "not run"), "cases": counts[name], "seconds": round(seconds[name], 2)}
            for name in tests}  # fmt: skip


def state(case):
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    skipped = case.find("skipped")
    return "passed" if skipped is None else f"skipped: {skipped.get('message')}"


def worse(one, other):
    return max(one, other, key=lambda found: ("passed", "skipped", "failed").index(found.partition(":")[0]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20, help="processes that each test of SIGKILL kills")
    parser.add_argument("--json", type=Path, dest="out", help="also write the states here")
    options = parser.parse_args()
    rows = table_rows(TABLE.read_text(encoding="utf-8"))
    found = run(list(dict.fromkeys(test for row in rows for test in row["tests"])), options.kills)
    for row in rows:
        row["green"] = all(found[test]["state"] == "passed" for test in row["tests"])
        print(f"{'green' if row['green'] else 'RED  '}  {row['fault']}: {row['where']}")
        for test in row["tests"]:
            if found[test]["state"] != "passed":
                print(f"       {test} {found[test]['state']}")
    green = sum(row["green"] for row in rows)
    print(f"{green} of {len(rows)} rows are green")
    if options.out:
        report = {"command": command(__spec__.name), "kills": options.kills, "rows": len(rows), "green": green}
        report |= {"table": rows, "tests": found}
        write_report(report, options.out, quiet=True)
    sys.exit(green != len(rows))


if __name__ == "__main__":
    main()
