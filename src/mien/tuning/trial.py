"""One trial of a search: train the recipe with some values, evaluate it on the validation split, write its result."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mien._utils.files import atomic
from mien.data.faces import Faces
from mien.errors import DivergedError, RecipeError
from mien.evaluation import evaluate
from mien.evaluation.pipeline import result_of
from mien.training import Recipe, load_recipe, train
from mien.tuning.space import Value, changes_for

Report = Callable[[int, float], bool]
"""Called with an epoch, from 1, and its validation accuracy; whether the trial is to be pruned."""


@dataclass(frozen=True)
class Setup:
    """What all trials of a search share; goes to other processes.

    Attributes:
        recipe: a shipped recipe's name, or a YAML file.
        changes: what differs from it in all trials, as ``--set`` takes it.
        roles: further changes: the splits to train and evaluate on, where that is a fold.
        faces: the data, without any split that is not trained or evaluated on.
        seed: of every trial's training.
        weights: a local file of ImageNet weights, where the recipe starts from these.
        device: as :class:`mien.training.TrainOptions` has it.
    """

    recipe: str
    changes: tuple[str, ...]
    roles: tuple[str, ...]
    faces: Faces
    seed: int
    weights: str | Path | None = None
    device: str = "auto"

    def settings(self, values: Mapping[str, Value]) -> Recipe:
        """The recipe of a trial; a RecipeError where the values do not go together."""
        return load_recipe(self.recipe, [*self.changes, *changes_for(values), *self.roles])


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        accuracy: on the validation split, of the bundle that it left; None where it left none.
        why: why it left none; None where it was pruned.
        figures: what else its row has.
    """

    accuracy: float | None = None
    why: str | None = None
    figures: Mapping[str, Any] | None = None


class PrunedError(Exception):
    """The other trials were better by this epoch."""


def run_trial(setup: Setup, values: Mapping[str, Value], out: Path, report: Report) -> Outcome:
    """Train and evaluate; a killed trial is resumed from its folder.

    Args:
        setup: what all trials share.
        values: this trial's.
        out: its folder, which gets ``best.mien``, ``history.csv`` and ``result.json``.
        report: called with each epoch, also with those before a kill.

    Raises:
        MienError: where the data, the weights or the folder are at fault, not the values.
    """
    last = 0

    def on_epoch(row: Mapping[str, Any]) -> None:
        nonlocal last
        if (epoch := int(row["epoch"])) > last:
            last = epoch
            if report(epoch, float(row["val_accuracy"])):
                raise PrunedError

    try:
        recipe = setup.settings(values)
        for row in _epochs_before(out):
            on_epoch(row)
        run = train(
            recipe, setup.faces, out, seed=setup.seed, resume=True, weights=setup.weights, device=setup.device,
            progress=False, on_epoch=on_epoch,
        )  # fmt: skip
    except PrunedError:
        return Outcome(figures={"epochs": last})
    except DivergedError as error:
        return Outcome(why=str(error))
    except RecipeError as error:
        if (out / "checkpoints").is_dir():  # the folder is at fault
            raise
        return Outcome(why=str(error))
    assert run.bundle is not None
    found = evaluate(run.bundle, setup.faces, recipe.data.validation)
    command = None if setup.roles else f"mien train recipe.yaml --data D --out RUN --seed {setup.seed}"
    result = result_of(recipe, setup.seed, command, run.rows, found, None)
    with atomic(out / "result.json") as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n")
    figures = {"epochs": len(run.rows), "seconds": round(run.seconds, 1), "sha256": run.bundle.sha256}
    return Outcome(found.accuracy, figures=figures | {"macro_f1": found.figures["macro_f1"]})


def _epochs_before(out: Path) -> list[dict[str, str]]:
    """The epochs that a killed trial had."""
    try:
        with (out / "history.csv").open(newline="") as file:
            return list(csv.DictReader(file))
    except FileNotFoundError:
        return []
