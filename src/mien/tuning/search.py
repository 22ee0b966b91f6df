"""Search a recipe's settings: trials in sequence or in parallel, resumable, evaluated without PrivateTest."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from mien._utils.environment import environment
from mien._utils.files import atomic, locked, protect
from mien._utils.workers import worker_pool
from mien.data.faces import USAGES, Faces, Usage
from mien.data.folds import fold as hold_out
from mien.data.load import load_faces, source_files
from mien.errors import DataError, ParallelError, RecipeError
from mien.training import Recipe, load_recipe
from mien.training.recipe import recipe_file
from mien.tuning.space import changes_for, check_space, load_space
from mien.tuning.study import FILE, TrialStore, storage_errors
from mien.tuning.trial import Setup, run_trial

OpenStore = Callable[..., TrialStore]
OnTrial = Callable[[dict[str, Any]], None]


def sweep(
    recipe: str | Path, space: str | Path, data: Faces | str | Path, out: str | Path, *,
    trials: int = 20, seed: int = 0, jobs: int = 1, changes: Sequence[str] = (), fold: str | None = None,
    prune: str = "median", resume: bool = False, weights: str | Path | None = None, device: str = "auto",
    on_trial: OnTrial = lambda row: None,
) -> dict[str, Any]:  # fmt: skip
    """Search a recipe's settings for the best accuracy on the validation split.

    The folder gets ``study.db`` (Optuna's study), ``trials/NNNN`` (each trial's bundle, history and result),
    ``sweep.json`` (what is returned) and ``best.yaml`` (the recipe with the best values).

    Args:
        recipe: a shipped recipe's name, or a YAML file.
        space: a YAML file that says what varies (:mod:`mien.tuning.space`).
        data: faces, or any data set that :func:`mien.load_faces` reads; PrivateTest is left out before anything else.
        out: the search's folder.
        trials: how many in all, those of a search that is resumed included.
        seed: of the values that are tried, and of each training.
        jobs: how many trials run in parallel.
        changes: settings that differ from the recipe in all trials, as ``--set`` takes them.
        fold: ``K/N``: evaluate on part K of N of Training; without it, on PublicTest.
        prune: ``median``, ``hyperband`` or ``none``.
        resume: continue the search in the folder.
        weights: a local file of ImageNet weights, where the recipe starts from these.
        device: ``auto``, ``cpu`` or ``cuda``.
        on_trial: called with the row of each trial that ends.

    Returns:
        ``trials``, a row a trial, the best first, and ``best``, with what the search was.

    Raises:
        RecipeError: for a recipe, space or folder that does not fit, and where no trial ended well.
        MienError: for data or weights that do not fit.
    """
    out, changes = Path(out).absolute(), list(changes)
    files = [] if isinstance(data, Faces) else source_files(data)
    protect([out, out / "best.yaml", out / "sweep.json"], chain([recipe_file(recipe), space, weights], files))
    settings, ranges = load_recipe(recipe, changes), load_space(space)
    check_space(ranges, recipe, changes)
    faces, roles = _splits(data if isinstance(data, Faces) else load_faces(data), settings, fold)
    setup = Setup(str(recipe), tuple(changes), roles, faces, seed, weights, device)
    identity = {
        "recipe": settings.model_dump(mode="json"),
        "space": {name: one.model_dump(mode="json") for name, one in ranges.items()},
        "data": {"name": faces.name, "fingerprint": faces.fingerprint},
    } | {"seed": seed, "prune": prune}
    with locked(out / "lock") as free:
        if not free:
            raise RecipeError("another process searches in this folder", out, "Wait for it, or name another --out.")
        with storage_errors(out / FILE):
            epochs = sum(phase.epochs for phase in settings.phases)
            open_store = partial(TrialStore, out, ranges, identity, seed, epochs)
            store = open_store(resume=resume)
            if jobs > 1:
                _run_parallel(store, partial(_run_in_worker, open_store, setup, jobs), trials, jobs, on_trial)
            else:
                while (trial := store.next(trials, jobs)) is not None:
                    on_trial(_run(store, setup, trial))
            return _summary(store.table(), setup, identity, out)


def _splits(faces: Faces, recipe: Recipe, fold: str | None) -> tuple[Faces, tuple[str, ...]]:
    """The faces to train and evaluate on, without PrivateTest, and the recipe's roles where they change."""
    if recipe.data.train != Usage.TRAINING:
        raise RecipeError(f"it trains on {recipe.data.train}", recipe.name, "A search trains on Training.")
    if fold is not None:
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", fold)
        if not match:
            raise DataError(f"{fold!r} is no fold", "--fold", "For example: --fold 1/5")
        changes = (f"data.validation={Usage.TEST}", f"data.test={Usage.TEST}")
        return hold_out(faces, int(match[1]), int(match[2])), changes
    if recipe.data.validation != Usage.PUBLIC_TEST:
        what = f"it chooses on {recipe.data.validation}, and a search never uses {Usage.PRIVATE_TEST}"
        raise RecipeError(what, recipe.name, "Add --set data.validation=PublicTest, or --fold 1/5.")
    used = [USAGES.index(usage) for usage in (Usage.TRAINING, Usage.PUBLIC_TEST)]
    return replace(faces.take(np.isin(faces.usage, used)), name=faces.name), ()


def _run(store: TrialStore, setup: Setup, trial: Any) -> dict[str, Any]:
    """Run a trial and remove what only its resumption would have needed; its row."""
    folder = store.folder(trial.number)
    store.finish(trial, run_trial(setup, trial.params, folder, partial(store.report, trial)))
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return store.row(trial.number)


def _run_in_worker(open_store: OpenStore, setup: Setup, jobs: int, number: int) -> dict[str, Any]:
    import torch

    torch.set_num_threads(max(1, (os.cpu_count() or 1) // jobs))
    store = open_store(resume=True)
    with storage_errors(store.out / FILE):
        return _run(store, setup, store.open(number))


def _run_parallel(
    store: TrialStore, run: Callable[[int], dict[str, Any]], total: int, jobs: int, on_trial: OnTrial
) -> None:
    running: set[Future[dict[str, Any]]] = set()
    with worker_pool(jobs) as pool:
        try:
            while True:
                while len(running) < jobs and (trial := store.next(total, jobs)) is not None:
                    running.add(pool.submit(run, trial.number))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    on_trial(future.result())
        except BrokenProcessPool as error:
            raise ParallelError(
                "a process of this search has died", mend="Run the same command with --resume."
            ) from error


def _summary(rows: list[dict[str, Any]], setup: Setup, identity: dict[str, Any], out: Path) -> dict[str, Any]:
    if not rows or rows[0]["state"] != "done":
        why = next((row["why"] for row in rows if row["why"]), "all were pruned")
        raise RecipeError(f"no trial ended well; the first: {why}", out, "Look at the space.")
    changes = changes_for(rows[0]["values"])
    found = {
        "recipe": setup.recipe,
        "changes": list(setup.changes),
        **{name: identity[name] for name in ("space", "data", "seed", "prune")},
        "evaluated_on": Usage.PUBLIC_TEST if not setup.roles else "the fold",
        "best": rows[0] | {"changes": changes},
        "trials": rows,
        **environment(),
    }
    recipe = load_recipe(setup.recipe, [*setup.changes, *changes])
    with atomic(out / "best.yaml") as temporary:
        temporary.write_text(recipe.to_yaml(), encoding="utf-8")
    with atomic(out / "sweep.json") as temporary:
        temporary.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return found
