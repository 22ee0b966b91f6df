"""The report of a benchmark or study: the command that was run, the figures, versions and hardware."""

import json
import sys
from pathlib import Path

from mien._utils.environment import environment
from mien._utils.files import atomic

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"


def command(module):
    """``python -m MODULE ...`` as it was run, without this machine's paths: the data are D, a file is its name."""
    words, rest = ["python", "-m", module], iter(sys.argv[1:])
    for word in rest:
        if word == "--data":
            words += [word, "D"]
            next(rest)
        elif word == "--json":
            words += [word, f"results/{Path(next(rest)).name}"]
        elif word == "--work":
            next(rest)
        else:
            words.append(Path(word).name if "/" in word else word)
    return " ".join(words)


def write_report(report, out, quiet=False):
    """Print the report as JSON, with versions and hardware, and write it to ``out`` where that is a path."""
    text = json.dumps(report | environment() | report, indent=2) + "\n"
    if not quiet:
        sys.stdout.write(text)
    if out:
        with atomic(out) as temporary:
            temporary.write_text(text)
