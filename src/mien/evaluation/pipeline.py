"""The main job end to end: train a recipe, evaluate it on its two test splits, draw the plots, write the result."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from mien._utils.environment import environment
from mien._utils.files import atomic
from mien.data.faces import Faces
from mien.data.shards.reader import Shards
from mien.evaluation import Evaluation, evaluate, plots
from mien.models.bundle import Bundle
from mien.training import Recipe, TrainOptions, train


@dataclass(frozen=True)
class Outcome:
    """A finished run.

    Attributes:
        out: the run's folder.
        bundle: the trained model.
        validation: its evaluation on the recipe's validation split.
        test: its evaluation on the recipe's test split.
        result: what ``result.json`` holds.
    """

    out: Path
    bundle: Bundle
    validation: Evaluation
    test: Evaluation
    result: dict[str, Any]


def run_recipe(
    recipe: Recipe,
    faces: Faces | Shards,
    out: str | Path,
    *,
    command: str | None = None,
    **options: Unpack[TrainOptions],
) -> Outcome:
    """Train, evaluate and plot.

    The run's folder also gets ``result.json``, the history's curves, and each split's figures, plots and table.

    Args:
        recipe: what to train.
        faces: the data set, in memory or, to be streamed, in shards.
        out: the run's folder.
        command: the command to record as the one that reproduces this result.
        options: as for :func:`mien.training.train`.
    """
    run = train(recipe, faces, out, **options)
    assert run.bundle is not None
    recipe = run.recipe
    validation, test = (evaluate(run.bundle, faces, split) for split in (recipe.data.validation, recipe.data.test))
    title = f"{recipe.name} on {faces.name}"
    plots.save(plots.history(run.rows, title), run.out / "history.png")
    counts = [faces.label_counts(split) for split in (recipe.data.train, recipe.data.validation)]
    names = (f"train: {recipe.data.train}", f"validation: {recipe.data.validation}")
    plots.save(plots.label_distributions(counts[0], counts[1], names, title), run.out / "labels.png")
    for part in (validation, test):
        part.write(run.out)
    result = result_of(recipe, run.seed, command, run.rows, validation, test)
    with atomic(run.out / "result.json") as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n")
    return Outcome(run.out, run.bundle, validation, test, result)


def result_of(
    recipe: Recipe,
    seed: int,
    command: str | None,
    rows: list[dict[str, Any]],
    validation: Evaluation,
    test: Evaluation | None,
) -> dict[str, Any]:
    """What ``result.json`` holds; ``test`` is None where the recipe's test split was not evaluated."""
    best = max(rows, key=lambda row: row["val_accuracy"])
    return {
        "name": recipe.name,
        "command": command,
        "seed": seed,
        "roles": recipe.data.model_dump(),
        "epochs": len(rows),
        "best_epoch": best["epoch"],
        "best_validation_accuracy": best["val_accuracy"],
        "training_seconds": round(sum(row["seconds"] for row in rows), 1),
        "seconds_an_epoch": {
            phase.name: round(float(np.median([r["seconds"] for r in rows if r["phase"] == phase.name])), 2)
            for phase in recipe.phases
        },
        "validation": validation.to_dict(),
        "test": test and test.to_dict(),
        "history": rows,
        **environment(),
    }
