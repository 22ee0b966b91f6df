"""Make results/leaderboard.md from results/*.json; with --check, only compare.

Usage: python -m tools.leaderboard [--check]

A recipe's runs stand in results/RECIPE.json (the released one) and results/RECIPE-seedN.json; of several, the table
gives mean and standard deviation.
"""

import json
import re
import statistics

from benchmarks.report import RESULTS
from mien.training import shipped_recipes
from mien.training.summary import summarize_network
from tools.output import check_option, read_result, update
from tools.tables import first_head

HEAD = """# Leaderboard

Made by `python -m tools.leaderboard` from `results/*.json`. Every model is one network, one view, no test-time
augmentation; temperatures are fitted on the recipe's validation split. *Clean* leaves out the test faces whose pixels
also stand in Training. Where a recipe ran with several seeds, the figures are mean ± standard deviation over these.
*Parameters* are all numbers stored, batch-norm statistics included. Models with two heads are measured by their
FER2013 head alone, which predicts these labels; *FER+* is the agreement of the default output, which `mien predict`
shows (in runs recorded before there was one, of the FER+ head), with the majority of ten people, on the 2,720
PrivateTest faces for which one of the seven emotions got more than half of all votes. The article's four recipes are
validated on PrivateTest, as the article does it; all others are chosen on PublicTest.
"""
COLUMNS = [
    "model", "parameters", "multiply-adds", "PublicTest", "PrivateTest", "clean", "macro-F1", "NLL", "ECE", "FER+",
    "training", "ms a face", "seeds", "SHA-256",
]  # fmt: skip


def runs(name):
    """A recipe's results, the released one first."""
    first = RESULTS / f"{name}.json"
    more = sorted(RESULTS.glob(f"{name}-seed*.json"))
    return [json.loads(path.read_text()) for path in [first, *more] if path.is_file()]


def split(run, name):
    return next(part for part in (run["validation"], run["test"]) if part["split"] == name)


def spread(values, digits, scale=1):
    """Mean and standard deviation, or the one value."""
    mean = f"{scale * statistics.mean(values):.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {scale * statistics.stdev(values):.{digits}f}"


def agreement(private):
    found = [part["ferplus"]["agreement"] for part in private if part.get("ferplus")]
    return spread(found, 1, 100) if len(found) == len(private) else "-"


def row(name, found, latency):
    public, shown = ([split(run, part) for run in found] for part in ("PublicTest", "PrivateTest"))
    public, private = ([first_head(part) for part in parts] for parts in (public, shown))
    network, hardware = summarize_network(name), found[0]["hardware"]
    return [
        f"`{name}`",
        f"{network['stored_parameters']:,}",
        f"{network['multiply_adds'] / 1e6:.1f} M",
        spread([part["accuracy"] for part in public], 2, 100),
        f"**{spread([part['accuracy'] for part in private], 2, 100)}**",
        spread([part["clean"]["accuracy"] for part in private], 2, 100),
        spread([part["macro_f1"] for part in private], 3),
        spread([part["nll"] for part in private], 3),
        spread([part["ece"] for part in private], 3),
        agreement(shown),
        f"{spread([run['training_seconds'] / 60 for run in found], 1)} min, {hardware['cores']} x {hardware['cpu']}",
        f"{latency[name]['batch 1, threads 1']:.2f}",
        ", ".join(str(run["seed"]) for run in found),
        f"`{found[0]['test']['model']['sha256'][:12]}`",
    ]


def table():
    latency = read_result("latency")["milliseconds_a_face"]
    every = {name: runs(name) for name in shipped_recipes()}
    have = {name: found for name, found in every.items() if found}
    order = sorted(have, key=lambda name: -first_head(split(have[name][0], "PrivateTest"))["accuracy"])
    lines = ["| " + " | ".join(COLUMNS) + " |", "|" + "---|" * len(COLUMNS)]
    return "\n".join(lines + ["| " + " | ".join(row(name, have[name], latency)) + " |" for name in order])


def commands():
    lines = [
        "",
        "Each by its command (data: FER2013 with FER+ votes; `ms a face`: one face at a time, one thread):",
        "",
    ]
    for name in shipped_recipes():
        lines += [f"- `{re.sub(r' +', ' ', run['command'])}`" for run in runs(name)]
    return "\n".join([*lines, "- latency: `python -m benchmarks.latency --json results/latency.json`"])


def main():
    text = f"{HEAD}\n{table()}\n{commands()}\n"
    update(RESULTS / "leaderboard.md", text, check_option(__doc__), __spec__.name)


if __name__ == "__main__":
    main()
