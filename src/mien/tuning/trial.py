"""One trial of a search: train the recipe with some values, judge it on the validation split, write its result."""

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
"""Is told an epoch, from 1, and its validation accuracy; whether the trial is to end."""


@dataclass(frozen=True)
class Setup:
    """What all trials of a search share; goes to other processes.

    Attributes:
        recipe: a shipped recipe's name, or a YAML file.
        changes: what differs from it in all trials, as ``--set`` takes it.
        roles: further changes: which split is trained and judged on, where that is a fold.
        faces: the data, without any split that is not trained or judged on.
        seed: of every trial's training.
        weights: a local file of ImageNet weights, where the recipe starts from these.
        device: as :class:`mien.training.TrainOptions` has it.
    """

    recipe: str
    changes: tuple[str, ...]
    roles: tuple[str, ...]
    faces: Faces
    seed: int
    weights: str | None = None
    device: str = "auto"

    def settings(self, values: Mapping[str, Value]) -> Recipe:
        """The recipe of a trial.

        Raises:
            RecipeError: where the values do not go together.
        """
        return load_recipe(self.recipe, [*self.changes, *changes_for(values), *self.roles])


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        accuracy: on the validation split, of the bundle that it left; None where it left none.
        why: why it left none; None where it was only ended early.
        figures: what else is to be told of it.
    """

    accuracy: float | None = None
    why: str | None = None
    figures: Mapping[str, Any] | None = None


class PrunedError(Exception):
    """The other trials were better by this epoch."""


def run_trial(setup: Setup, values: Mapping[str, Value], out: Path, report: Report) -> Outcome:
    """Train and judge; a killed trial's folder is taken up where it stands.

    Args:
        setup: what all trials share.
        values: this trial's.
        out: its folder, which gets ``best.mien``, ``history.csv`` and ``result.json``.
        report: is told of each epoch.

    Raises:
        MienError: where the data, the weights or the folder are at fault, not the values.
    """
    told = _EpochReporter(out / "history.csv", report)
    try:
        recipe = setup.settings(values)
        run = train(
            recipe, setup.faces, out, seed=setup.seed, resume=True, weights=setup.weights, device=setup.device,
            progress=False, on_epoch=told,
        )  # fmt: skip
    except PrunedError:
        return Outcome(figures={"epochs": told.last})
    except DivergedError as error:
        return Outcome(why=str(error))
    except RecipeError as error:
        if (out / "checkpoints").is_dir():  # the folder is at fault
            raise
        return Outcome(why=str(error))
    told.all(run.rows)
    assert run.bundle is not None
    judged = evaluate(run.bundle, setup.faces, recipe.data.validation)
    command = None if setup.roles else f"mien train recipe.yaml --data D --out RUN --seed {setup.seed}"
    result = result_of(recipe, setup.seed, command, run.rows, judged, None)
    with atomic(out / "result.json") as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n")
    figures = {"epochs": len(run.rows), "seconds": round(run.seconds, 1), "sha256": run.bundle.sha256}
    return Outcome(judged.accuracy, figures=figures | {"macro_f1": judged.figures["macro_f1"]})


class _EpochReporter:
    """Passes epochs on, also those that a killed trial had before this process took it up."""

    def __init__(self, history: Path, report: Report) -> None:
        self.history, self.report = history, report
        self.last = 0

    def __call__(self, row: dict[str, Any]) -> None:
        """Tell of an epoch, and of those before it that nobody told of.

        Raises:
            PrunedError: where the trial is to end.
        """
        if row["epoch"] > self.last + 1:
            with self.history.open(newline="") as file:
                for before in list(csv.DictReader(file))[: row["epoch"] - 1]:
                    self.report(int(before["epoch"]), float(before["val_accuracy"]))
        self.last = row["epoch"]
        if self.report(row["epoch"], row["val_accuracy"]):
            raise PrunedError

    def all(self, rows: list[dict[str, Any]]) -> None:
        """Tell of what is still untold of a run that is over."""
        for row in rows[self.last :]:
            self.report(row["epoch"], row["val_accuracy"])
