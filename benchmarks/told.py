"""What a benchmark leaves: its report, and the command that was given, without this machine's paths."""

import json
import sys
from pathlib import Path

from mien._utils.environment import environment
from mien._utils.files import atomic


def command(script):
    """``python benchmarks/SCRIPT ...`` as it was run: the data are called D, weights and results by their names."""
    words, rest = ["python", f"benchmarks/{Path(script).name}"], iter(sys.argv[1:])
    for word in rest:
        if word == "--data":
            words += [word, "D"]
            next(rest)
        elif word == "--weights":
            words += [word, Path(next(rest)).name]
        elif word == "--json":
            words += [word, f"results/{Path(next(rest)).name}"]
        elif word == "--work":
            next(rest)
        else:
            words.append(word)
    return " ".join(words)


def tell(report, out):
    """Print the report as JSON, with versions and hardware, and write it to ``out`` where that is a path."""
    text = json.dumps(report | environment(), indent=2) + "\n"
    sys.stdout.write(text)
    if out:
        with atomic(out) as temporary:
            temporary.write_text(text)
