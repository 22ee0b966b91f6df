"""``mien sweep``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mien.cli.console import console, print_json, print_table, stderr
from mien.cli.data import keep_inputs, load
from mien.cli.options import AsJson, Changes, Data, Device, LabelOrderName, Recipe, Weights

SHOWN = 20
"""How many trials the table has at most."""


def sweep(
    recipe: Recipe,
    space: Annotated[Path, typer.Option("--space", metavar="FILE", help="The search space, in YAML.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="The folder of the study.")],
    data: Data = None,
    trials: Annotated[int, typer.Option("--trials", min=1, help="The number of trials.")] = 20,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The random seed of the search and of each training.")] = 0,
    jobs: Annotated[int, typer.Option("--jobs", min=1, help="Trials in parallel.")] = 1,
    changes: Changes = None,
    fold: Annotated[
        str | None,
        typer.Option("--fold", metavar="K/N", help="Evaluate on fold K of N of Training instead of PublicTest."),
    ] = None,
    prune: Annotated[str, typer.Option("--prune", help="The pruner: median, hyperband or none.")] = "median",
    resume: Annotated[bool, typer.Option("--resume", help="Continue the study in --out.")] = False,
    weights: Weights = None,
    device: Device = "auto",
    as_json: AsJson = False,
    label_order: LabelOrderName = None,
) -> None:
    """Search hyperparameters of a recipe for accuracy on PublicTest or a fold of Training, never on PrivateTest.

    FILE has a setting a line: phases.0.optimizer.lr: {kind: loguniform, low: 1.0e-4, high: 1.0e-2}. Kinds: uniform,
    loguniform, int (with step) and choice (with values).
    """
    from mien.errors import require

    require("lightning", "train")
    require("optuna", "sweep")
    from mien.tuning import sweep as search

    keep_inputs([out], data)
    found = search(
        recipe, space, load(data, label_order=label_order), out, trials=trials, seed=seed, jobs=jobs,
        changes=changes or [], fold=fold,
        prune=prune, resume=resume, weights=weights, device=device, on_trial=_trial_line,
    )  # fmt: skip
    if as_json:
        print_json(found)
        return
    print_sweep(found)
    console.print(f"best {out / 'best.yaml'}: {' '.join(found['best']['changes'])}", markup=False)
    console.print(f"train it: mien train {out / 'best.yaml'} --data D --out RUN", markup=False)


def _trial_line(row: dict[str, Any]) -> None:
    """Print how a trial ended as one line on stderr."""
    values = "  ".join(f"{name}={_cell(value)}" for name, value in row["values"].items())
    stderr.print(f"trial {row['trial']:>4}  {row['state']:<11}  {_percent(row['accuracy'])}  {values}", markup=False)


def print_sweep(found: dict[str, Any]) -> None:
    """Print the best trials of a search, and how many there were."""
    names = list(found["space"])
    rows = [
        [
            str(row["trial"]),
            row["state"],
            _percent(row["accuracy"]),
            _percent(row["best_epoch_accuracy"]),
            str(row["epochs"] or "-"),
            *(_cell(row["values"].get(name)) for name in names),
        ]
        for row in found["trials"][:SHOWN]
    ]
    title = f"{found['recipe']} on {found['data']['name']}, evaluated on {found['evaluated_on']}"
    print_table(title, ["trial", "state", "accuracy", "best epoch", "epochs", *names], rows, text=2)
    if len(found["trials"]) > SHOWN:
        console.print(f"and {len(found['trials']) - SHOWN:,} more in sweep.json")


def _percent(value: float | None) -> str:
    return f"{'-':>6}" if value is None else f"{value:6.2%}"


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
