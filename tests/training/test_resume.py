"""A run that was killed goes on to the result of an unbroken run."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import Ran, tiny_recipe, write_recipe
from mien.data import Faces
from mien.errors import RecipeError
from mien.evaluation import evaluate
from mien.models.load import load_bundle
from mien.training import Recipe, Run, train
from support.interrupted_runs import killed_in_step, same_weights, timeless


def test_a_run_killed_in_either_phase_ends_as_the_unbroken_one(
    mien: Callable[..., Ran], tiny_run: Run, drawn: Faces, drawn_csv: Path, tmp_path: Path
) -> None:
    """Four steps an epoch, two epochs a phase. SIGKILL in step 2 of epoch 2, and, resumed, in step 3 of epoch 4."""
    out = tmp_path / "run"
    recipe = write_recipe(tmp_path / "tiny.yaml")
    arguments = ["train", recipe, "--data", drawn_csv, "--out", out, "--seed", 1, "--device", "cpu"]
    for step, more, rows, done in ((6, [], 1, False), (4 + 4 + 3, ["--resume"], 3, True)):
        assert killed_in_step(step, *arguments, *more)
        assert len((out / "history.csv").read_text().splitlines()) == 1 + rows
        assert (out / "checkpoints" / "1-head.safetensors").exists() is done
        assert not (out / "best.mien").exists()
    ran = mien(*arguments, "--resume", "--json")
    assert ran.code == 0, ran.err
    result = json.loads(ran.out)
    assert timeless(result["history"]) == timeless(tiny_run.rows)
    assert same_weights(load_bundle(out), tiny_run.bundle)
    assert tiny_run.bundle is not None
    for role, split in (("validation", "PublicTest"), ("test", "PrivateTest")):
        unbroken = evaluate(tiny_run.bundle, drawn, split)
        assert result[role]["split"] == split
        for name in ("accuracy", "macro_f1", "nll", "ece", "confusion", "clean"):
            assert result[role][name] == unbroken.figures[name], name


@pytest.fixture
def copied(tiny_run: Run, tmp_path: Path) -> Path:
    """A copy of the finished tiny run's folder."""
    return Path(shutil.copytree(tiny_run.out, tmp_path / "copied"))


def resume(out: Path, faces: Faces, recipe: Recipe | None = None, seed: int = 1) -> Run:
    return train(recipe or tiny_recipe(), faces, out, seed=seed, device="cpu", resume=True)


def test_a_finished_run_is_not_trained_on(tiny_run: Run, copied: Path, drawn: Faces) -> None:
    again = resume(copied, drawn)
    assert again.rows == tiny_run.rows
    assert again.bundle is not None
    assert tiny_run.bundle is not None
    assert again.bundle.sha256 == tiny_run.bundle.sha256


def test_a_run_killed_before_its_first_epoch_ended_starts_anew(tiny_run: Run, copied: Path, drawn: Faces) -> None:
    for path in copied.rglob("*"):
        if path.is_file() and path.name != "run.json":
            path.unlink()
    again = resume(copied, drawn)
    assert timeless(again.rows) == timeless(tiny_run.rows)
    assert same_weights(again.bundle, tiny_run.bundle)


def test_resuming_where_there_is_no_run_starts_one(drawn: Faces, tmp_path: Path) -> None:
    recipe = tiny_recipe(phases=[{"name": "a", "train": "head", "epochs": 1, "optimizer": {"name": "adam", "lr": 1}}])
    assert len(resume(tmp_path / "new", drawn, recipe).rows) == 1


def test_a_full_phase_killed_before_its_weights_were_written_gets_no_more_epochs(
    tiny_run: Run, copied: Path, drawn: Faces
) -> None:
    (copied / "checkpoints" / "2-all.safetensors").unlink()
    (copied / "best.mien").unlink()
    again = resume(copied, drawn)
    assert again.rows == tiny_run.rows
    assert same_weights(again.bundle, tiny_run.bundle)


@pytest.mark.parametrize("lost", [["1-a"], ["2-b"]])
def test_a_stopped_phase_killed_before_its_weights_were_written_gets_no_more_epochs(
    drawn: Faces, tmp_path: Path, lost: list[str]
) -> None:
    """Both phases stop early, with the weights of their first epoch."""
    settings = {"train": "all", "epochs": 9, "early_stopping": {"min_delta": 1.0, "patience": 2}}
    settings["optimizer"] = {"name": "adam", "lr": 0.001}
    recipe = tiny_recipe(phases=[{"name": name, **settings} for name in ("a", "b")])
    out = tmp_path / "run"
    whole = train(recipe, drawn, out, seed=1, device="cpu")
    assert [row["phase"] for row in whole.rows] == ["a"] * 3 + ["b"] * 3
    (out / "best.mien").unlink()
    if lost == ["1-a"]:
        for name in ("2-b.ckpt", "2-b.safetensors"):
            (out / "checkpoints" / name).unlink()
    for name in lost:
        (out / "checkpoints" / f"{name}.safetensors").unlink()
    again = resume(out, drawn, recipe)
    assert timeless(again.rows) == timeless(whole.rows)
    assert same_weights(again.bundle, whole.bundle)


@pytest.mark.parametrize("what", ["seed", "recipe", "data"])
def test_another_run_is_not_resumed(copied: Path, drawn: Faces, what: str) -> None:
    faces = replace(drawn, emotion=drawn.emotion[::-1].copy()) if what == "data" else drawn
    recipe = tiny_recipe(batch_size=31) if what == "recipe" else None
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    with pytest.raises(RecipeError, match=f"{what} differ from the run there"):
        resume(copied, faces, recipe, seed=2 if what == "seed" else 1)
    assert {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()} == before


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def filled(path: Path) -> None:
    path.write_bytes(b"\x00" * 5000)


@pytest.mark.parametrize("spoil", [cut, emptied, flipped, filled])
def test_a_damaged_checkpoint_is_one_clear_error(copied: Path, drawn: Faces, spoil: Callable[[Path], None]) -> None:
    (copied / "checkpoints" / "2-all.safetensors").unlink()
    damaged = copied / "checkpoints" / "2-all.ckpt"
    spoil(damaged)
    with pytest.raises(RecipeError, match="a damaged checkpoint") as caught:
        resume(copied, drawn)
    assert str(damaged) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "spoil"), [("1-head.safetensors", cut), ("1-head.safetensors", emptied), ("run.json", cut)]
)
def test_other_damaged_files_are_one_clear_error(
    copied: Path, drawn: Faces, name: str, spoil: Callable[[Path], None]
) -> None:
    spoil(copied / "checkpoints" / name)
    with pytest.raises(RecipeError, match="damaged") as caught:
        resume(copied, drawn)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_deleted_damaged_checkpoint_mends_the_run(tiny_run: Run, copied: Path, drawn: Faces) -> None:
    """The remedy that the error names: the phase is trained again, to the same end."""
    for name in ("2-all.safetensors", "2-all.ckpt"):
        (copied / "checkpoints" / name).unlink()
    again = resume(copied, drawn)
    assert timeless(again.rows) == timeless(tiny_run.rows)
    assert same_weights(again.bundle, tiny_run.bundle)


def test_checkpoints_are_written_beside_their_place(
    drawn: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A temporary folder may lie on another disk, from which a file is copied, half of it in view when the run dies."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "no such folder"))
    recipe = tiny_recipe(phases=[{"name": "a", "train": "head", "epochs": 1, "optimizer": {"name": "adam", "lr": 1}}])
    run = train(recipe, drawn, tmp_path / "run", device="cpu")
    assert {path.name for path in run.checkpoints.iterdir()} == {"1-a.ckpt", "1-a.safetensors", "lock", "run.json"}
