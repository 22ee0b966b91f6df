"""A search on a few drawn faces: what it leaves, what it refuses, and how it goes on after a kill."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import Process, active_children
from pathlib import Path
from typing import Any

import pytest

from conftest import Ran, write_recipe
from mien.data import Faces
from mien.errors import DataError, MienError, ParallelError, RecipeError
from mien.models.load import load_bundle
from mien.training import load_recipe
from mien.tuning import sweep
from mien.tuning.space import load_space
from mien.tuning.study import TrialStore
from mien.tuning.trial import Outcome, Setup, run_trial
from support.interrupted_runs import PROCESSES, killed_in_step

pytest.importorskip("optuna")
Mien = Callable[..., Ran]
PHASES = [{"name": "all", "train": "all", "epochs": 2, "optimizer": {"name": "adam", "lr": 0.001}}]
SPACE = """
phases.0.optimizer.lr: {kind: loguniform, low: 1.0e-4, high: 1.0e-2}
batch_size: {kind: choice, values: [32, 64]}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    return write_recipe(tmp_path / "tiny.yaml", phases=PHASES)


@pytest.fixture
def space(tmp_path: Path) -> Path:
    path = tmp_path / "space.yaml"
    path.write_text(SPACE)
    return path


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A table without its wall times and file sums, which hold wall times too."""
    return [{name: value for name, value in row.items() if name not in ("seconds", "sha256")} for row in rows]


@pytest.fixture(scope="module")
def whole(drawn: Faces, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Three trials, undisturbed; tests only read their folder."""
    folder = tmp_path_factory.mktemp("sweep")
    (folder / "space.yaml").write_text(SPACE)
    recipe = write_recipe(folder / "tiny.yaml", phases=PHASES)
    out = folder / "out"
    return out, sweep(recipe, folder / "space.yaml", drawn, out, trials=3, seed=5, device="cpu")


def test_the_folder_holds_trials_study_and_best_recipe(whole: tuple[Path, dict[str, Any]]) -> None:
    out, found = whole
    assert json.loads((out / "sweep.json").read_text()) == json.loads(json.dumps(found))
    assert {path.name for path in out.iterdir()} == {"best.yaml", "lock", "study.db", "sweep.json", "trials"}
    rows = found["trials"]
    assert sorted(row["trial"] for row in rows) == [0, 1, 2]
    assert [row["accuracy"] for row in rows] == sorted((row["accuracy"] for row in rows), reverse=True)
    assert len({row["values"]["phases.0.optimizer.lr"] for row in rows}) == 3
    for row in rows:
        folder = out / "trials" / f"{row['trial']:04d}"
        assert {path.name for path in folder.iterdir()} == {"best.mien", "history.csv", "recipe.yaml", "result.json"}
        result = json.loads((folder / "result.json").read_text())
        assert result["validation"]["accuracy"] == row["accuracy"]
        assert result["validation"]["model"]["sha256"] == load_bundle(folder).sha256 == row["sha256"]
        assert max(epoch["val_accuracy"] for epoch in result["history"]) == row["best_epoch_accuracy"]
    best = load_recipe(out / "best.yaml")
    assert best.phases[0].optimizer.lr == rows[0]["values"]["phases.0.optimizer.lr"]
    assert best.batch_size == rows[0]["values"]["batch_size"]


def test_private_test_is_left_out(whole: tuple[Path, dict[str, Any]]) -> None:
    out, found = whole
    for row in found["trials"]:
        folder = out / "trials" / f"{row['trial']:04d}"
        result = json.loads((folder / "result.json").read_text())
        assert result["test"] is None
        assert result["validation"]["split"] == "PublicTest"
        assert load_bundle(folder).card.provenance["data"]["splits"].keys() == {"Training", "PublicTest"}


@pytest.mark.parametrize(
    ("changes", "options", "error", "what"),
    [
        (["data.validation=PrivateTest"], {}, RecipeError, "never uses PrivateTest"),
        (["data.validation=test"], {}, RecipeError, "it chooses on test"),
        (["data.train=test"], {}, RecipeError, "A search trains on Training"),
        ([], {"fold": "1-5"}, DataError, "'1-5' is no fold"),
        ([], {"fold": "6/5"}, DataError, "there is no fold 6 of 5"),
        ([], {"prune": "hard"}, RecipeError, "there is no pruner 'hard'"),
        (["batch_size=none"], {}, RecipeError, "batch_size"),
    ],
)
def test_what_does_not_fit_is_refused_before_any_trial(
    recipe: Path, space: Path, drawn: Faces, tmp_path: Path,
    changes: list[str], options: dict[str, Any], error: type[MienError], what: str,
) -> None:  # fmt: skip
    with pytest.raises(error, match=what):
        sweep(recipe, space, drawn, tmp_path / "out", trials=1, changes=changes, **options)
    assert not (tmp_path / "out" / "trials").exists()


def test_on_a_fold_public_test_is_not_there_either(recipe: Path, space: Path, drawn: Faces, tmp_path: Path) -> None:
    out = tmp_path / "out"
    found = sweep(
        recipe, space, drawn, out, trials=1, fold="2/4", changes=["data.validation=PrivateTest"], device="cpu"
    )
    assert found["evaluated_on"] == "the fold"
    assert found["data"]["name"] == f"{drawn.name}, fold 2 of 4 of Training"
    result = json.loads((out / "trials" / "0000" / "result.json").read_text())
    assert (result["validation"]["split"], result["validation"]["n"], result["command"]) == ("test", 30, None)
    assert load_bundle(out / "trials" / "0000").card.provenance["data"]["splits"] == {"Training": 90, "test": 30}
    assert load_recipe(out / "best.yaml").data.validation == "PrivateTest"


def test_a_killed_search_goes_on_as_the_undisturbed_one(
    mien: Mien, whole: tuple[Path, dict[str, Any]], recipe: Path, space: Path, drawn_csv: Path, tmp_path: Path
) -> None:
    """Killed in the second epoch of the second trial: the first stays, the second goes on where it stood."""
    out, steps = tmp_path / "out", {32: 4, 64: 2}
    first, second = (
        steps[row["values"]["batch_size"]] for row in sorted(whole[1]["trials"], key=lambda r: r["trial"])[:2]
    )
    arguments = ["sweep", recipe, "--space", space, "--data", drawn_csv, "--out", out, "--trials", 3, "--seed", 5]
    arguments += ["--device", "cpu"]
    assert killed_in_step(2 * first + second + 1, *arguments)
    before = (out / "trials" / "0000" / "result.json").read_bytes()
    assert len((out / "trials" / "0001" / "history.csv").read_text().splitlines()) == 2
    ran = mien(*arguments, "--resume", "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert without_times(found["trials"]) == without_times(json.loads(json.dumps(whole[1]["trials"])))
    assert (out / "trials" / "0000" / "result.json").read_bytes() == before
    assert sorted(path.name for path in (out / "trials").iterdir()) == ["0000", "0001", "0002"]
    assert [line.split()[1] for line in ran.err.splitlines()] == ["1", "2"]


def test_a_finished_search_is_not_run_again_and_more_trials_are_added(
    whole: tuple[Path, dict[str, Any]], recipe: Path, space: Path, drawn: Faces, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    seen: list[int] = []
    options: dict[str, Any] = {"seed": 5, "device": "cpu", "on_trial": lambda row: seen.append(row["trial"])}
    sweep(recipe, space, drawn, out, trials=2, **options)
    sweep(recipe, space, drawn, out, trials=2, resume=True, **options)
    assert seen == [0, 1]
    found = sweep(recipe, space, drawn, out, trials=3, resume=True, **options)
    assert seen == [0, 1, 2]
    assert without_times(found["trials"]) == without_times(whole[1]["trials"])


def test_another_search_in_the_folder_is_refused(
    whole: tuple[Path, dict[str, Any]], recipe: Path, space: Path, drawn: Faces, tmp_path: Path
) -> None:
    out = whole[0]
    before = (out / "sweep.json").read_bytes()
    for what, options in (
        ("there is a search already. Add --resume", {"seed": 5}),
        ("seed differ from the search there", {"seed": 6, "resume": True}),
        ("recipe differ", {"seed": 5, "resume": True, "changes": ["calibrate=true"]}),
        ("prune differ", {"seed": 5, "resume": True, "prune": "none"}),
        ("data differ", {"seed": 5, "resume": True, "fold": "1/4"}),
    ):
        with pytest.raises(RecipeError, match=what):
            sweep(recipe, space, drawn, out, trials=3, device="cpu", **options)  # type: ignore[arg-type]
    assert (out / "sweep.json").read_bytes() == before


def test_a_damaged_study_is_one_clear_error(recipe: Path, space: Path, drawn: Faces, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "study.db").write_bytes(b"no database" * 1000)
    with pytest.raises(RecipeError, match=r"study.db: the study cannot be read") as caught:
        sweep(recipe, space, drawn, tmp_path / "out", trials=1)
    assert "\n" not in str(caught.value)


def test_a_trial_that_diverges_is_reported_and_the_others_go_on(recipe: Path, drawn: Faces, tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("phases.0.optimizer.lr: {kind: choice, values: [1.0e+38, 0.001]}")
    changes = ["phases.0.optimizer.name=sgd", "phases.0.epochs=1"]
    found = sweep(recipe, space, drawn, tmp_path / "out", trials=4, changes=changes, device="cpu")
    states = [(row["state"], row["values"]["phases.0.optimizer.lr"]) for row in found["trials"]]
    assert states == sorted(states)
    assert {("done", 0.001), ("failed", 1e38)} == set(states)
    assert "not a finite number" in found["trials"][-1]["why"] or "loss" in found["trials"][-1]["why"]
    assert found["best"]["state"] == "done"


def test_where_no_trial_ends_well_the_first_reason_is_reported(recipe: Path, drawn: Faces, tmp_path: Path) -> None:
    space = tmp_path / "space.yaml"
    space.write_text("phases.0.optimizer.lr: {kind: choice, values: [1.0e+38]}")
    changes = ["phases.0.optimizer.name=sgd", "phases.0.epochs=1"]
    with pytest.raises(RecipeError, match="no trial ended well; the first: "):
        sweep(recipe, space, drawn, tmp_path / "out", trials=1, changes=changes, device="cpu")


def setup_of(recipe: Path, drawn: Faces, **changes: Any) -> Setup:
    return Setup(str(recipe), (), (), drawn, 0, device="cpu", **changes)


def test_a_pruned_trial_ends_at_once(recipe: Path, drawn: Faces, tmp_path: Path) -> None:
    epochs: list[int] = []

    def report(epoch: int, accuracy: float) -> bool:
        epochs.append(epoch)
        return True

    found = run_trial(setup_of(recipe, drawn), {"batch_size": 64}, tmp_path / "out", report)
    assert (found.accuracy, found.why, found.figures, epochs) == (None, None, {"epochs": 1}, [1])
    assert not (tmp_path / "out" / "best.mien").exists()


def test_epochs_before_a_kill_are_reported_once_more(recipe: Path, drawn: Faces, tmp_path: Path) -> None:
    """The pruner of a search that was taken up knows what that of an undisturbed one knows."""
    setup, out = setup_of(recipe, drawn), tmp_path / "out"
    first: list[tuple[int, float]] = []

    def killed(epoch: int, accuracy: float) -> bool:
        first.append((epoch, accuracy))
        if epoch == 2:
            raise InterruptedError
        return False

    with pytest.raises(InterruptedError):
        run_trial(setup, {}, out, killed)
    repeated: list[tuple[int, float]] = []
    found = run_trial(setup, {}, out, lambda epoch, accuracy: repeated.append((epoch, accuracy)) is not None)
    assert repeated == first
    assert [epoch for epoch, _ in repeated] == [1, 2]
    assert found.figures is not None
    assert found.figures["epochs"] == 2


@pytest.fixture
def open_store(tmp_path: Path, space: Path) -> Callable[..., TrialStore]:
    def opened(prune: str = "median") -> TrialStore:
        return TrialStore(tmp_path, load_space(space), {"prune": prune}, seed=1, epochs=4, resume=True)

    return opened


def test_the_median_prunes_what_is_worse_than_half(open_store: Callable[..., TrialStore]) -> None:
    store = open_store()
    for accuracy in (0.5, 0.6, 0.5, 0.6):
        trial = store.next(9, 1)
        assert not any(store.report(trial, epoch, accuracy) for epoch in (1, 2, 3, 4))
        store.finish(trial, Outcome(accuracy))
    bad, good = store.next(9, 1), store.next(9, 1)
    assert [store.report(bad, epoch, 0.1) for epoch in (1, 2)] == [False, True]
    assert [store.report(good, epoch, 0.7) for epoch in (1, 2)] == [False, False]
    store.finish(bad, Outcome(figures={"epochs": 2}))
    assert store.table()[-1] | {"values": {}} == {
        "trial": 4, "state": "pruned", "accuracy": None, "best_epoch_accuracy": 0.1, "macro_f1": None,
        "epochs": 2, "seconds": None, "sha256": None, "why": None, "values": {},
    }  # fmt: skip


def test_hyperband_takes_its_rounds_from_the_recipes_epochs(open_store: Callable[..., TrialStore]) -> None:
    store = open_store("hyperband")
    trial = store.next(1, 1)
    store.report(trial, 1, 0.5)
    store.finish(trial, Outcome(0.5))
    assert store.table()[0]["accuracy"] == 0.5


def test_trials_that_were_running_go_on_however_often_it_is_killed(open_store: Callable[..., TrialStore]) -> None:
    store = open_store()
    done, killed = store.next(3, 2), store.next(3, 2)
    store.finish(done, Outcome(0.5))
    for _ in range(3):
        resumed = open_store().next(3, 1)
        assert (resumed.params, resumed.number) == (killed.params, killed.number)
    last = open_store()
    last.finish(last.next(3, 1), Outcome(0.6))
    last.finish(last.next(3, 1), Outcome(0.4))
    assert last.next(3, 1) is None
    assert [(row["trial"], row["accuracy"]) for row in last.table()] == [(1, 0.6), (0, 0.5), (2, 0.4)]


def test_a_kill_while_a_trial_gets_its_values_makes_no_second_trial(
    open_store: Callable[..., TrialStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(Exception):
        pass

    def suggest_categorical(*_: object, **__: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        import optuna

        patch.setattr(optuna.Trial, "suggest_categorical", suggest_categorical)
        with pytest.raises(KilledError):
            open_store().next(1, 1)
    store = open_store()
    (before,) = store.study.get_trials()
    resumed = store.next(1, 1)
    assert before.params.items() < resumed.params.items()
    assert resumed.params.keys() == {"phases.0.optimizer.lr", "batch_size"}
    store.finish(resumed, Outcome(0.5))
    assert store.next(1, 1) is None
    assert len(store.table()) == 1


def test_trials_in_parallel_come_to_the_same(
    whole: tuple[Path, dict[str, Any]], recipe: Path, space: Path, drawn: Faces, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The first ten trials' values depend on nothing but the seed."""
    monkeypatch.setattr("mien._utils.workers.get_context", lambda _: PROCESSES)  # which have imported PyTorch already
    found = sweep(recipe, space, drawn, tmp_path / "out", trials=3, seed=5, jobs=2, device="cpu")
    values = {row["trial"]: row["values"] for row in whole[1]["trials"]}
    assert {row["trial"]: row["values"] for row in found["trials"]} == values
    for row in found["trials"]:
        alone = next(other for other in whole[1]["trials"] if other["trial"] == row["trial"])
        assert row["accuracy"] == pytest.approx(alone["accuracy"], abs=2 / 15)
        assert row["state"] == "done"


def test_a_dead_process_is_one_clear_error(
    recipe: Path, space: Path, drawn: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The processes are killed as the second trial begins; all of them are gone afterwards."""
    started: list[Process] = []
    submit = ProcessPoolExecutor.submit

    def submit_and_kill(pool: ProcessPoolExecutor, *arguments: Any) -> Future[Any]:
        future = submit(pool, *arguments)
        started[:] = active_children()  # type: ignore[assignment]
        if len(started) == 2:
            os.kill(started[0].pid or 0, signal.SIGKILL)
        return future

    monkeypatch.setattr(ProcessPoolExecutor, "submit", submit_and_kill)
    with pytest.raises(ParallelError, match=r"has died\. Run the same command with --resume"):
        sweep(recipe, space, drawn, tmp_path / "out", trials=2, jobs=2, device="cpu")
    assert len(started) == 2
    assert not any(process.is_alive() for process in started)


def test_the_command_prints_a_table_and_the_next_command(
    mien: Mien, recipe: Path, space: Path, drawn_csv: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ran = mien("sweep", recipe, "--space", space, "--data", drawn_csv, "--out", out, "--trials", 1, "--device", "cpu")
    assert ran.code == 0, ran.err
    assert "evaluated on PublicTest" in ran.out
    assert f"train it: mien train {out / 'best.yaml'} --data D --out RUN" in ran.out
    assert ran.err.startswith("trial    0  done ")
    refused = mien("sweep", recipe, "--space", tmp_path / "none", "--data", drawn_csv, "--out", out)
    assert (refused.code, refused.out, refused.err.count("\n")) == (2, "", 1)
