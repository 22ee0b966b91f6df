"""The study of a search: the values that were tried and their results, in one SQLite file that Optuna keeps."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.errors import RecipeError, require
from mien.tuning.space import Space, suggest
from mien.tuning.trial import Outcome

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.pruners import BasePruner
    from optuna.trial import FrozenTrial

FILE = "study.db"
_NAME, _IDENTITY = "mien", "identity"
_STATES = {"COMPLETE": "done", "PRUNED": "pruned", "FAIL": "failed"}
_BUSY = 60.0
"""Seconds that a process waits for another one to end its write."""


class TrialStore:
    """Starts trials and stores their results; processes that train side by side each open the same study.

    Each trial's values follow from the seed and from the results before it alone, so that a search that is killed and
    resumed runs the same trials as an undisturbed one, where it runs one trial at a time.

    Args:
        out: the search's folder.
        space: what varies.
        identity: what makes it this search; the same when it is resumed.
        seed: of the values.
        epochs: the most that a trial can have.
        resume: whether to continue the search in the folder.

    Raises:
        RecipeError: where the folder holds another search, or one and ``resume`` is not given.
    """

    def __init__(self, out: Path, space: Space, identity: dict[str, Any], seed: int, epochs: int, resume: bool) -> None:
        self.optuna: Any = require("optuna", "sweep")
        self.optuna.logging.set_verbosity(self.optuna.logging.ERROR)
        self.out, self.space, self.seed = out, space, seed
        self.study = self.optuna.create_study(
            storage=self.optuna.storages.RDBStorage(
                f"sqlite:///{out / FILE}", engine_kwargs={"connect_args": {"timeout": _BUSY}}
            ),
            study_name=_NAME,
            direction="maximize",
            load_if_exists=True,
            pruner=_pruner(self.optuna.pruners, identity["prune"], epochs),
        )
        self._check_identity(identity, resume)
        self._interrupted = [trial.number for trial in self._trials() if trial.state.name == "RUNNING"]

    def _check_identity(self, identity: dict[str, Any], resume: bool) -> None:
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

    def _trials(self) -> list[FrozenTrial]:
        found: list[FrozenTrial] = self.study.get_trials(deepcopy=False)
        return found

    def next(self, total: int, jobs: int) -> Trial | None:
        """The next trial of a search of ``total``, first those that a kill interrupted; None where none is left."""
        number = self._interrupted[0] if self._interrupted else len(self._trials())
        if number >= total and not self._interrupted:
            return None
        self.study.sampler = self.optuna.samplers.TPESampler(
            seed=self.seed * 1_000_003 + number, constant_liar=jobs > 1
        )
        trial = self.open(self._interrupted.pop(0)) if self._interrupted else self.study.ask()
        for name, parameter in self.space.items():
            suggest(trial, name, parameter)
        return trial

    def open(self, number: int) -> Trial:
        """A trial that another process has started."""
        trial: Trial = self.optuna.Trial(self.study, self._trials()[number]._trial_id)
        return trial

    def folder(self, number: int) -> Path:
        """Where a trial's files are."""
        return self.out / "trials" / f"{number:04d}"

    def report(self, trial: Trial, epoch: int, accuracy: float) -> bool:
        """Store an epoch's validation accuracy; whether the trial is to be pruned."""
        if epoch not in self._trials()[trial.number].intermediate_values:  # as after a kill
            trial.report(accuracy, epoch)
        return trial.should_prune()

    def finish(self, trial: Trial, outcome: Outcome) -> None:
        """Store a trial's result."""
        state = self.optuna.trial.TrialState
        for name, value in {**(outcome.figures or {}), "why": outcome.why}.items():
            if value is not None:
                trial.set_user_attr(name, value)
        if outcome.accuracy is not None:
            self.study.tell(trial, outcome.accuracy)
        else:
            self.study.tell(trial, state=state.FAIL if outcome.why else state.PRUNED)

    def row(self, number: int) -> dict[str, Any]:
        """The row of a trial that has ended, as in :meth:`table`."""
        return _row(self._trials()[number])

    def table(self) -> list[dict[str, Any]]:
        """A row for each trial that has ended, the best first."""
        rows = [_row(trial) for trial in self._trials() if trial.state.is_finished()]
        return sorted(rows, key=lambda row: -1.0 if row["accuracy"] is None else row["accuracy"], reverse=True)


def _row(trial: FrozenTrial) -> dict[str, Any]:
    attributes = ("macro_f1", "epochs", "seconds", "sha256", "why")
    return {
        "trial": trial.number,
        "state": _STATES[trial.state.name],
        "accuracy": trial.value if trial.state.name == "COMPLETE" else None,
        "best_epoch_accuracy": max(trial.intermediate_values.values(), default=None),
        **{name: trial.user_attrs.get(name) for name in attributes},
        "values": dict(trial.params),
    }


def _pruner(pruners: Any, name: str, epochs: int) -> BasePruner:
    """``median`` ends what is worse than the median of the earlier trials by the same epoch; see docs/sweep.md."""
    made: dict[str, Any] = {
        "median": lambda: pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=2),
        "hyperband": lambda: pruners.HyperbandPruner(min_resource=1, max_resource=epochs),
        "none": pruners.NopPruner,
    }
    if name not in made:
        raise RecipeError(f"there is no pruner {name!r}", "--prune", f"Choose {', '.join(made)}.")
    pruner: BasePruner = made[name]()
    return pruner


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """One RecipeError for a study whose file is damaged, or whose disk is full or read-only."""
    storage = require("optuna.exceptions", "sweep").StorageInternalError
    database = require("sqlalchemy.exc", "sweep").SQLAlchemyError
    try:
        yield
    except (storage, database) as error:
        reason = str(error.__cause__ or error).splitlines()[0]
        mend = "Mend its disk and add --resume, or name another --out."
        raise RecipeError(f"the study cannot be read or written ({reason})", path, mend) from error
