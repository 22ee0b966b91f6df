"""Search a recipe's settings: trials one after another or side by side, resumable, judged without PrivateTest."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np

from mien._utils.environment import environment
from mien._utils.files import atomic, locked, protect
from mien.data.faces import USAGES, Faces, Usage
from mien.data.folds import fold as hold_out
from mien.data.load import load_faces, source_files
from mien.errors import DataError, RecipeError
from mien.training import Recipe, load_recipe
from mien.training.recipe import recipe_file
from mien.tuning.space import Space, changes_for, check_space, load_space
from mien.tuning.study import FILE, Task, TrialStore, kept
from mien.tuning.trial import Outcome, Setup, run_trial


class SweepOptions(TypedDict, total=False):
    """What :func:`sweep` takes beside recipe, space, data and folder."""

    trials: int
    """How many in all, those of a search that is taken up included; 20 where it is not given."""
    seed: int
    """Of the values that are tried, and of each training; 0 where it is not given."""
    jobs: int
    """How many trials run side by side; 1 where it is not given."""
    changes: Sequence[str]
    """Settings that differ from the recipe in all trials, as ``--set`` takes them."""
    fold: str | None
    """``K/N``: judge on part K of N of Training; without it, on PublicTest."""
    prune: str
    """``median`` (where it is not given), ``hyperband`` or ``none``."""
    resume: bool
    """Go on with the search in the folder."""
    weights: str | Path | None
    """A local file of ImageNet weights, where the recipe starts from these."""
    device: str
    """``auto`` (where it is not given), ``cpu`` or ``cuda``."""
    on_trial: Callable[[dict[str, Any]], None]
    """Called with the row of each trial that ends."""


def sweep(
    recipe: str | Path, space: str | Path, data: Faces | str | Path, out: str | Path, **options: Unpack[SweepOptions]
) -> dict[str, Any]:
    """Search a recipe's settings for the best accuracy on the validation split.

    The folder gets ``study.db`` (the book of the search), ``trials/NNNN`` (each trial's bundle, history and result),
    ``sweep.json`` (what is returned) and ``best.yaml`` (the recipe with the best values).

    Args:
        recipe: a shipped recipe's name, or a YAML file.
        space: a YAML file that says what varies (:mod:`mien.tuning.space`).
        data: faces, or any data set that :func:`mien.load_faces` reads; PrivateTest is left out before anything else.
        out: the search's folder.
        options: see :class:`SweepOptions`.

    Returns:
        ``trials``, a row a trial, the best first, and ``best``, with what the search was.

    Raises:
        RecipeError: for a recipe, space or folder that does not fit, and where no trial ended well.
        MienError: for data or weights that do not fit.
    """
    out, changes = Path(out).absolute(), list(options.get("changes", ()))
    files = [] if isinstance(data, Faces) else source_files(data)
    places = [out, out / "best.yaml", out / "sweep.json"]
    protect(places, chain([recipe_file(recipe), space, options.get("weights")], files))
    settings, ranges = load_recipe(recipe, changes), load_space(space)
    check_space(ranges, recipe, changes)
    faces, roles = _part(data if isinstance(data, Faces) else load_faces(data), settings, options.get("fold"))
    weights, seed = options.get("weights"), options.get("seed", 0)
    setup = Setup(
        str(recipe),
        tuple(changes),
        roles,
        faces,
        seed,
        str(weights) if weights else None,
        options.get("device", "auto"),
    )
    identity = _identity(setup, settings, ranges, options.get("prune", "median"))
    with locked(out / "lock") as free:
        if not free:
            raise RecipeError("another process searches in this folder", out, "Wait for it, or name another --out.")
        with kept(out / FILE):
            epochs = sum(phase.epochs for phase in settings.phases)
            book = TrialStore(out, ranges, identity, options.get("resume", False), seed, epochs)
            _run(book, setup, options)
            return _summary(book, setup, identity, out)


def _part(faces: Faces, recipe: Recipe, fold: str | None) -> tuple[Faces, tuple[str, ...]]:
    """What is trained and judged on, and the recipe's roles where they change; PrivateTest goes.

    Raises:
        RecipeError: where the recipe would choose on anything but PublicTest.
        DataError: for a fold that is none.
    """
    if recipe.data.train != Usage.TRAINING:
        raise RecipeError(f"it trains on {recipe.data.train}", recipe.name, "A search trains on Training.")
    if fold is not None:
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", fold)
        if not match:
            raise DataError(f"{fold!r} is no fold", "--fold", "For example: --fold 1/5")
        changes = (f"data.validation={Usage.TEST}", f"data.test={Usage.TEST}")
        return hold_out(faces, int(match[1]), int(match[2])), changes
    if recipe.data.validation != Usage.PUBLIC_TEST:
        what = f"it chooses on {recipe.data.validation}, and a search never looks at {Usage.PRIVATE_TEST}"
        raise RecipeError(what, recipe.name, "Add --set data.validation=PublicTest, or --fold 1/5.")
    seen = [USAGES.index(usage) for usage in (Usage.TRAINING, Usage.PUBLIC_TEST)]
    return replace(faces.take(np.isin(faces.usage, seen)), name=faces.name), ()


def _identity(setup: Setup, recipe: Recipe, space: Space, prune: str) -> dict[str, Any]:
    return {
        "recipe": recipe.model_dump(mode="json"),
        "space": {name: one.model_dump(mode="json") for name, one in space.items()},
        "data": {"name": setup.faces.name, "fingerprint": setup.faces.fingerprint},
        "seed": setup.seed,
        "prune": prune,
    }


def _run(book: TrialStore, setup: Setup, options: SweepOptions) -> None:
    total, jobs = options.get("trials", 20), options.get("jobs", 1)
    say = options.get("on_trial", lambda row: None)
    if jobs > 1:
        _side_by_side(book, setup, total, jobs, say)
        return
    while (task := book.next(total, jobs)) is not None:
        _end(book, task, run_trial(setup, task.values, task.out, partial(book.report, task)), say)


def _side_by_side(book: TrialStore, setup: Setup, total: int, jobs: int, say: Callable[[dict[str, Any]], None]) -> None:
    from mien.tuning.workers import WorkerPool

    crew = WorkerPool(setup, jobs)
    try:
        while True:
            while crew.idle and (task := book.next(total, jobs)) is not None:
                crew.give(task)
            if not crew.busy:
                return
            connection, task, message = crew.hear()
            if isinstance(message, Outcome):
                _end(book, task, message, say)
            else:
                connection.send(book.report(task, *message))
    finally:
        crew.dismiss()


def _end(book: TrialStore, task: Task, outcome: Outcome, say: Callable[[dict[str, Any]], None]) -> None:
    """Write down how a trial ended, and let go what only its resumption would have needed."""
    book.finish(task, outcome)
    shutil.rmtree(task.out / "checkpoints", ignore_errors=True)
    number = int(task.out.name)
    say(next(row for row in book.table() if row["trial"] == number))


def _summary(book: TrialStore, setup: Setup, identity: dict[str, Any], out: Path) -> dict[str, Any]:
    rows = book.table()
    best = rows[0] if rows and rows[0]["state"] == "done" else None
    if best is None:
        why = next((row["why"] for row in rows if row["why"]), "all were ended early")
        raise RecipeError(f"no trial ended well; the first: {why}", out, "Look at the space.")
    found = {
        "recipe": setup.recipe,
        "changes": list(setup.changes),
        **{name: identity[name] for name in ("space", "data", "seed", "prune")},
        "judged_on": Usage.PUBLIC_TEST if not setup.roles else "the fold",
        "best": best | {"changes": changes_for(best["values"])},
        "trials": rows,
        **environment(),
    }
    recipe = load_recipe(setup.recipe, [*setup.changes, *changes_for(best["values"])])
    with atomic(out / "best.yaml") as temporary:
        temporary.write_text(recipe.to_yaml(), encoding="utf-8")
    with atomic(out / "sweep.json") as temporary:
        temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return found
