"""The book of a search: which values were tried and what came of them, in one SQLite file that Optuna keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.errors import RecipeError, require
from mien.tuning.space import Choice, Int, LogUniform, Parameter, Space, Value
from mien.tuning.trial import Outcome

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.trial import FrozenTrial

FILE = "study.db"
PRUNERS = ("median", "hyperband", "none")
_NAME, _IDENTITY, _AGAIN = "mien", "identity", "again"
"""The study's name, and what it and its trials are marked with: an enqueued copy names the trial that was killed."""


@dataclass(frozen=True)
class Task:
    """A trial to be run.

    Attributes:
        trial: Optuna's handle.
        values: the settings to try.
        out: its folder; that of the killed trial whose copy it is.
    """

    trial: Trial
    values: dict[str, Value]
    out: Path


class TrialStore:
    """Gives out trials and writes down what comes of them; one process at a time holds it.

    Each trial's values follow from the seed and from what was written before alone, so that a search that is killed and
    taken up goes the same way as an undisturbed one, where it runs one trial at a time.

    Args:
        out: the search's folder.
        space: what varies.
        identity: what makes it this search; the same when it is taken up.
        resume: whether to take up the search in the folder.
        seed: of the values.
        epochs: the most that a trial can have.

    Raises:
        RecipeError: where the folder holds another search, or one and ``resume`` is not given.
    """

    def __init__(self, out: Path, space: Space, identity: dict[str, Any], resume: bool, seed: int, epochs: int) -> None:
        self.optuna: Any = require("optuna", "sweep")
        self.optuna.logging.set_verbosity(self.optuna.logging.ERROR)
        self.out, self.seed = out, seed
        self.space = {name: _distribution(self.optuna.distributions, one) for name, one in space.items()}
        self.study: Study = self.optuna.create_study(
            storage=f"sqlite:///{out / FILE}",
            study_name=_NAME,
            direction="maximize",
            load_if_exists=True,
            pruner=_pruner(self.optuna.pruners, identity["prune"], epochs),
        )
        self._identify(identity, resume)
        self._requeue()

    def _identify(self, identity: dict[str, Any], resume: bool) -> None:
        before = self.study.user_attrs.get(_IDENTITY)
        now = json.loads(json.dumps(identity))
        if before is None:
            self.study.set_user_attr(_IDENTITY, now)
            return
        changed = [name for name in now if before.get(name) != now[name]]
        if changed:
            raise RecipeError(f"{' and '.join(changed)} differ from the search there", self.out, "Name another --out.")
        if not resume:
            mend = "Add --resume to go on with it, or name another --out."
            raise RecipeError("there is a search already", self.out, mend)

    def _requeue(self) -> None:
        """A trial that was running when the search was killed has failed, and its copy waits to be run."""
        waiting = {trial.user_attrs.get(_AGAIN) for trial in self._trials("WAITING")}
        for trial in self._trials("RUNNING"):
            origin = trial.user_attrs.get(_AGAIN, trial.number)
            if origin not in waiting:  # else the search was killed between these two steps
                self.study.enqueue_trial(trial.params, user_attrs={_AGAIN: origin})
            self.study.tell(trial.number, state=self.optuna.trial.TrialState.FAIL)

    def _trials(self, *states: str) -> list[FrozenTrial]:
        wanted = tuple(self.optuna.trial.TrialState[state] for state in states) or None
        return self.study.get_trials(deepcopy=False, states=wanted)

    def next(self, total: int, jobs: int) -> Task | None:
        """The next trial of a search of ``total``; None where all have been given out."""
        waiting, places = self._trials("WAITING"), self._places()
        if not waiting and len(places) >= total:
            return None
        place = places[waiting[0].user_attrs[_AGAIN]] if waiting else len(places)
        self.study.sampler = self.optuna.samplers.TPESampler(seed=self.seed * 1_000_003 + place, constant_liar=jobs > 1)
        trial = self.study.ask(self.space)
        return Task(trial, dict(trial.params), self.out / "trials" / f"{place:04d}")

    def _places(self) -> dict[int, int]:
        """Optuna's numbers of trials, and ours: without the copies, so from 0 without a gap whatever was killed."""
        originals = [trial.number for trial in self._trials() if _AGAIN not in trial.user_attrs]
        return {number: place for place, number in enumerate(originals)}

    def report(self, task: Task, epoch: int, accuracy: float) -> bool:
        """Write down an epoch's validation accuracy; whether the trial is hopeless."""
        task.trial.report(accuracy, epoch)
        return bool(task.trial.should_prune())

    def finish(self, task: Task, outcome: Outcome) -> None:
        """Write down how a trial ended."""
        state = self.optuna.trial.TrialState
        for name, value in {**(outcome.figures or {}), "why": outcome.why}.items():
            if value is not None:
                task.trial.set_user_attr(name, value)
        if outcome.accuracy is not None:
            self.study.tell(task.trial, outcome.accuracy)
        else:
            self.study.tell(task.trial, state=state.FAIL if outcome.why else state.PRUNED)

    def table(self) -> list[dict[str, Any]]:
        """What came of each trial that has ended, the best first; killed ones whose copy was run are left out."""
        places = self._places()
        ended = self._trials("COMPLETE", "PRUNED", "FAIL")
        rows = [_row(trial, places[trial.user_attrs.get(_AGAIN, trial.number)]) for trial in ended]
        told = [row for row in rows if row["state"] != "failed" or row["why"]]
        return sorted(told, key=lambda row: -1.0 if row["accuracy"] is None else row["accuracy"], reverse=True)


def _row(trial: FrozenTrial, place: int) -> dict[str, Any]:
    states = {"COMPLETE": "done", "PRUNED": "ended early", "FAIL": "failed"}
    attributes = trial.user_attrs
    reached = max(trial.intermediate_values.values(), default=None)
    return {
        "trial": place,
        "state": states[trial.state.name],
        "accuracy": trial.value if trial.state.name == "COMPLETE" else None,
        "best_epoch_accuracy": reached,
        **{name: attributes.get(name) for name in ("macro_f1", "epochs", "seconds", "sha256", "why")},
        "values": dict(trial.params),
    }


def _distribution(kinds: Any, one: Parameter) -> BaseDistribution:
    found: BaseDistribution
    if isinstance(one, Choice):
        found = kinds.CategoricalDistribution(one.values)
    elif isinstance(one, Int):
        found = kinds.IntDistribution(one.low, one.high, step=one.step)
    else:
        found = kinds.FloatDistribution(one.low, one.high, log=isinstance(one, LogUniform))
    return found


def _pruner(pruners: Any, name: str, epochs: int) -> BasePruner:
    """``median`` ends what is worse than the median of the earlier trials by the same epoch; see docs/sweep.md."""
    made: dict[str, Any] = {
        "median": lambda: pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2),
        "hyperband": lambda: pruners.HyperbandPruner(min_resource=1, max_resource=epochs),
        "none": pruners.NopPruner,
    }
    if name not in made:
        raise RecipeError(f"there is no way to prune named {name!r}", "--prune", f"Choose {', '.join(PRUNERS)}.")
    pruner: BasePruner = made[name]()
    return pruner


@contextmanager
def kept(path: Path) -> Iterator[None]:
    """Turn what SQLite cannot do with its file into one clear error.

    Raises:
        RecipeError: where the file is damaged, or the disk is full or read-only.
    """
    storage = require("optuna.exceptions", "sweep").StorageInternalError
    database = require("sqlalchemy.exc", "sweep").SQLAlchemyError
    try:
        yield
    except (storage, database) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        mend = "Mend its disk and add --resume, or name another --out."
        raise RecipeError(f"the book of the search cannot be read or written ({reason})", path, mend) from error
