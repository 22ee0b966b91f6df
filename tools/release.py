"""Ship a trained model: its bundle into src/mien/assets, its runs' results into results.

Usage: python -m tools.release RUN [RUN_OF_ANOTHER_SEED...]

RUN's model becomes RECIPE.mien, and its result results/RECIPE.json; the other runs leave
results/RECIPE-seedN.json.
"""

import argparse
import json
import sys
from pathlib import Path

from benchmarks.report import RESULTS, ROOT
from mien._utils.files import atomic
from mien.models.bundle import SUFFIX
from mien.models.load import load_bundle

ASSETS = ROOT / "src" / "mien" / "assets"
LARGEST = 10_000_000
"""Bytes that a shipped file may have."""


def result_of(run):
    """The run's result, once it is sure that it is about the bundle beside it."""
    bundle, result = load_bundle(run), json.loads((run / "result.json").read_text())
    if result["test"]["model"]["sha256"] != bundle.sha256:
        sys.exit(f"{run}: result.json is about another bundle than best{SUFFIX}")
    return bundle, result


def write(path, data):
    with atomic(path) as temporary:
        temporary.write_bytes(data)
    if path.stat().st_size > LARGEST:
        sys.exit(f"{path} has more than {LARGEST:,} bytes")
    print(f"wrote {path.relative_to(ROOT)}, {path.stat().st_size:,} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="the run to ship")
    parser.add_argument("others", type=Path, nargs="*", help="runs of the same recipe with other seeds")
    options = parser.parse_args()
    bundle, result = result_of(options.run)
    name = bundle.card.name
    write(ASSETS / f"{name}{SUFFIX}", bundle.path.read_bytes())
    write(RESULTS / f"{name}.json", (json.dumps(result, indent=2) + "\n").encode())
    for run in options.others:
        other, more = result_of(run)
        if other.card.name != name or more["seed"] == result["seed"]:
            sys.exit(f"{run} is not another seed of {name}")
        write(RESULTS / f"{name}-seed{more['seed']}.json", (json.dumps(more, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
