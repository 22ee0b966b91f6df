"""Put the figures of results/*.json into README.md and docs/, between their markers; with --check, only compare.

Usage: python -m tools.docs_tables [--check]
"""

import json
import re
import sys

from benchmarks.report import RESULTS, ROOT
from mien.training import load_recipe, shipped_recipes
from tools import tables
from tools.output import check_option, read_result, update

DOCS = ("start", "recipes", "data", "results", "score", "finetune")
FILLED = (ROOT / "README.md", *(ROOT / "docs" / f"{name}.md" for name in DOCS))
NEED = {
    "load": "pandas",
    "keras_epoch": "TensorFlow in an environment of its own",
    "time_to_accuracy": "TensorFlow in an environment of its own",
    "inference": "TensorFlow and fer in an environment of their own",
    "compare": "TensorFlow and fer in an environment of their own",
    "detectors": "photos",
    "framing": "photos",
    "small_faces": "portraits, scikit-learn's photos",
    "browser": "npm, Chromium",
}
"""What a command needs besides the data and `mien[dev]`."""
NAMED = {
    "as it is": "`best`, without training",
    "fast": "`fast`, from ImageNet",
    "cnn-plain": "`cnn-plain`, from scratch",
}
"""Names of the rows of finetune_gain.json that their command does not give."""
COMMANDS = {"data_check": "mien data check D --json"}
"""Where a result does not name its command itself."""


def percent(value, digits=1):
    return f"{100 * value:.{digits}f} %"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows]


def private(run):
    return next(part for part in (run["validation"], run["test"]) if part["split"] == "PrivateTest")


def network(recipe):
    spec = recipe.network
    if spec.name == "cnn":
        return "plain CNN"
    if spec.name == "compact":
        return "compact: MobileNet, then residual blocks"
    stride = ", first stride 1" if spec.stem_stride == 1 else ""
    return f"MobileNet, cut at block {spec.cut}{stride}"


def recipes_table():
    """Every shipped recipe: network, phases, optimizer, and what its run scored."""
    rows = []
    for name in shipped_recipes():
        recipe = load_recipe(name)
        phases = ", then ".join(
            f"{phase.train if isinstance(phase.train, str) else f'from block {phase.train}'}"
            f" (at most {phase.epochs}, {phase.optimizer.name})"
            for phase in recipe.phases
        )
        known = (RESULTS / f"{name}.json").is_file()
        score = percent(tables.first_head(private(read_result(name)))["accuracy"], 2) if known else "not measured"
        start = f"`{recipe.start}`" if recipe.start else "ImageNet" if recipe.imagenet else "random"
        rows.append([f"`{name}`", network(recipe), start, phases, recipe.data.validation, score])
    return table(
        ["recipe", "network", "starts from", "what trains (epochs, optimizer)", "selected on", "PrivateTest"], rows
    )


def data_table():
    """What `mien data check` finds in FER2013."""
    found = read_result("data_check")
    rows = [
        ["groups of identical faces", f"{found['duplicate_groups']:,}, {found['duplicate_faces']:,} faces"],
        *(
            [f"{split} faces that are also in Training", f"{count:,} of {found['splits'][split]:,}"]
            for split, count in found["leaked"].items()
        ),
        ["PrivateTest faces that are also in PublicTest", f"{found['private_in_public']:,}"],
        ["identical faces with different labels", f"{found['conflicting_groups']:,} groups"],
        ["groups of near duplicates", f"{found['near_duplicate_groups']:,}, {found['near_duplicate_faces']:,} faces"],
        *([f"{split} faces near one in Training", f"{count:,}"] for split, count in found["near_leaked"].items()),
        ["labels that the FER+ votes contradict", f"{found['suspect_labels']:,}"],
        ["not a face, by most votes", f"{found['not_a_face']:,}"],
        ["images of a single gray level", f"{found['constant']:,}"],
        ["Happy faces per Disgust face, Training", f"{found['imbalance']['Training']:.1f}"],
    ]
    return [*table(["problem", "count"], rows), "", "From `results/data_check.json`: `mien data check DATA --json`."]


def leaks_text():
    """How many test faces leak, and what they are worth."""
    found, best = read_result("data_check"), tables.first_head(private(read_result("best")))
    leaked = sum(found["leaked"].values())
    tests = sum(count for split, count in found["splits"].items() if split != "Training")
    clean = best["clean"]["accuracy"]
    return [
        f"{leaked:,} of the {tests:,} test faces are, pixel for pixel, also in Training. A model that memorises its"
        " training data is right on them for free: the FER2013 head of `best` scores"
        f" {percent(best['accuracy'], 2)} on PrivateTest with them and {percent(clean, 2)} without"
        " (`results/best.json`)."
    ]


def classes_table():
    """Precision and recall by class on PrivateTest."""
    runs = {name: private(read_result(name))["per_class"] for name in ("article", *tables.SHIPPED)}
    head = ["class", "faces", *(f"`{name}`: precision, recall" for name in runs)]
    rows = []
    for name, first in next(iter(runs.values())).items():
        cells = [f"{percent(one[name]['precision'])}, {percent(one[name]['recall'])}" for one in runs.values()]
        rows.append([name, first["support"], *cells])
    return table(head, rows)


def command_of(path):
    found = json.loads(path.read_text())
    command = COMMANDS.get(path.stem) or (found.get("command") if isinstance(found, dict) else None)
    return command if isinstance(command, str) and not command.startswith(".") else None


def reproduce_table():
    """Every result whose command is known."""
    known = [(path, command_of(path)) for path in sorted(RESULTS.glob("*.json"))]
    rows = [
        [f"[`{path.name}`](../results/{path.name})", f"`{command}`", NEED.get(path.stem, "")]
        for path, command in known
        if command
    ]
    return table(["result", "command", "needs"], rows)


def five_minutes_table():
    """The seconds that the steps of the start page took."""
    path = RESULTS / "five_minutes.json"
    if not path.is_file():
        return ["Not measured yet."]
    found = read_result("five_minutes")
    rows = [[f"`{step['command']}`", f"{step['seconds']:.1f} s"] for step in found["steps"]]
    total = sum(step["seconds"] for step in found["steps"])
    machine = f"{found['hardware']['cores']} x {found['hardware']['cpu']}"
    note = f"{total / 60:.1f} minutes in all, {machine}, {found['venv_megabytes']:,.0f} MB installed:"
    return [note, "", *table(["command", "time"], rows)]


def score_table():
    """A million rows through the command, by each engine that was measured."""
    runs = [run for run in map(read_result, ("score", "score_local")) if run["rows"] >= 1_000_000]
    head = ["", *(f"`--engine {run['engine']}`, {run['workers']} workers" for run in runs)]

    def line(what, value):
        return [what, *map(value, runs)]

    def memory(side):
        first, grown = "megabytes_by_quarter", "grown_megabytes_last_to_first_quarter"
        return lambda run: f"{run[first][side][0]['mean']:.0f} MB; {run[grown][side]:.1f} MB"

    share = "of_as_many_plain_predictors_as_workers"
    return table(
        head,
        [
            line("model", lambda run: f"`{run['model']}`"),
            line("rows, each exactly once and in order", lambda run: f"{run['rows_in_order_once']:,}"),
            line("rows/s", lambda run: f"{run['rows_a_second']:,.0f}"),
            line("relative to as many plain predictors", lambda run: f"{100 * run['efficiency'][share]:.0f} %"),
            line("memory of the command in the first quarter; growth to the last", memory("command")),
            line("memory of the workers in the first quarter; growth to the last", memory("workers")),
            line("bytes written per row", lambda run: f"{run['bytes_a_row_written']:.0f}"),
        ],
    )


def finetune_table():
    """Accuracy of each way to train three classes, by the number of images per class."""
    found = read_result("finetune_gain")
    sizes = sorted({row["faces_each"] for row in found["summary"]})
    named = {}
    for row in found["summary"]:
        spread = "" if row["deviation"] is None else f" ± {100 * row['deviation']:.1f}"
        named.setdefault(row["recipe"], {})[row["faces_each"]] = f"{100 * row['accuracy']:.1f}{spread} %"
    head = ["training images per class", *map(str, sizes)]
    rows = [
        [NAMED.get(recipe, f"`{recipe}`"), *(cells.get(size, "") for size in sizes)] for recipe, cells in named.items()
    ]
    return table(head, rows)


TABLES = {
    "finetune": finetune_table,
    "score": score_table,
    "recipes": recipes_table,
    "data": data_table,
    "leaks": leaks_text,
    "classes": classes_table,
    "reproduce": reproduce_table,
    "five_minutes": five_minutes_table,
    "shipped": tables.shipped_table,
    "article": tables.article_table,
    "models": tables.models_table,
    "speed": tables.speed_table,
    "peers": tables.peers_table,
}


def fill(text):
    """A page with every table between its markers made anew."""

    def made(found):
        name = found[1]
        if name not in TABLES:
            sys.exit(f"there is no table {name}")
        lines = [found[0].splitlines()[0], *TABLES[name](), f"<!-- /results:{name} -->"]
        return "\n".join(lines)

    return re.sub(r"<!-- results:(\w+) -->\n.*?<!-- /results:\1 -->", made, text, flags=re.S)


def main():
    check = check_option(__doc__)
    for path in FILLED:
        update(path, fill(path.read_text(encoding="utf-8")), check, __spec__.name)


if __name__ == "__main__":
    main()
