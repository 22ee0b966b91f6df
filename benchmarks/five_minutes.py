"""Follow docs/start.md literally in a new virtual environment: every command of the page, as it stands there.

Usage: python -m benchmarks.five_minutes [--json OUT]

The commands run one after the other in one shell, in a copy of the last commit in a temporary folder, with caches of
their own. It fails where one of them fails, and where no model or no prediction is there at the end.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from itertools import pairwise
from pathlib import Path

from benchmarks.report import ROOT, command, write_report

sys.path.insert(0, str(ROOT / "tests"))
MARK = "@@mien-step@@"


def steps():
    from support.documents import commands

    return [command.text for command in commands(ROOT / "docs" / "start.md")]


def script(texts):
    """A shell script that stops at the first failure, and tells on stderr when each command is done."""
    told = [f"{text}\necho {MARK} $EPOCHREALTIME >&2" for text in texts]
    return "\n".join(["set -eu", f"echo {MARK} $EPOCHREALTIME >&2", *told])


def follow(folder, texts):
    """Run them; gives the seconds of each, and what all of them printed."""
    subprocess.run(f"git archive HEAD | tar -x -C {folder}", shell=True, check=True, cwd=ROOT)
    own = {
        "MIEN_CACHE": str(folder / "cache"),
        "PIP_CACHE_DIR": str(folder / "pip"),
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    kept = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    kept |= {name: value for name, value in os.environ.items() if name.startswith(("HOME", "PIP_", "SSL"))}
    done = subprocess.run(["bash", "-c", script(texts)], cwd=folder, env=kept | own, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"the page cannot be followed: {done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    times = [float(line.split()[1]) for line in done.stderr.splitlines() if line.startswith(MARK)]
    return [round(after - before, 1) for before, after in pairwise(times)], done.stdout


def measure(folder):
    texts = steps()
    seconds, printed = follow(folder, texts)
    python = folder / "try-mien" / "bin" / "python"
    listed = subprocess.run(
        [python, "-m", "pip", "list", "--format", "json"], capture_output=True, text=True, check=True
    )
    result = json.loads((folder / "runs" / "first" / "result.json").read_text())
    table = (folder / "happy.csv").read_text().splitlines()
    sizes = (path.lstat().st_size for path in (folder / "try-mien").rglob("*") if path.is_file())
    return {
        "steps": [{"command": text, "seconds": one} for text, one in zip(texts, seconds, strict=True)],
        "photo": next(line for line in printed.splitlines() if line.startswith("photo.jpg:")),
        "model": {"accuracy_private": result["test"]["accuracy"], "sha256": result["test"]["model"]["sha256"]},
        "rows_of_happy_csv": len(table) - 1,
        "venv_megabytes": round(sum(sizes) / 1e6, 1),
        "packages": {one["name"]: one["version"] for one in json.loads(listed.stdout)},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, dest="out")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory() as folder:
        measured = measure(Path(folder))
    write_report({"command": command(__spec__.name), **measured, "load_average": os.getloadavg()[2]}, out)


if __name__ == "__main__":
    main()
