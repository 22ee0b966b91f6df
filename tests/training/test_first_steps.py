"""Two processes take the same first steps as one, from memory and from shards."""

from __future__ import annotations

from pathlib import Path

import lightning
import pytest
from torch import Tensor

from benchmarks import parallel
from conftest import write_recipe
from mien.data import Faces, load_faces
from mien.data.shards.writer import write_shards
from mien.training import load_recipe, train
from mien.training.loader import Batch
from mien.training.module import Classifier

ORDER = {"block": 8, "lanes": 4, "window": 2}
STEPS = 10
"""Two epochs of four steps and half of the next one: also the order of later epochs agrees."""


def losses_in_memory(recipe: Path, faces: Faces, out: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The first losses of a run in this process, in float64."""
    step, trainer, found = Classifier.training_step, lightning.Trainer, []

    def recorded(self: Classifier, batch: Batch, batch_idx: int) -> Tensor:
        loss = step(self, batch, batch_idx)
        found.append(float(loss.detach()))
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "training_step", recorded)
        patch.setattr(lightning, "Trainer", lambda **settings: trainer(**settings | {"precision": "64-true"}))
        train(load_recipe(recipe), faces, out, device="cpu", progress=False)
    return found[:STEPS]


def test_two_processes_take_the_steps_of_one(drawn: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory one process, streamed two, both in float64."""
    phases = [{"name": "all", "train": "all", "epochs": 3, "optimizer": {"name": "adam", "lr": 0.001}}]
    recipe = write_recipe(tmp_path / "short.yaml", order=ORDER, phases=phases)
    write_shards(drawn, tmp_path / "shards", rows=24, block=8)
    one = losses_in_memory(recipe, load_faces(tmp_path / "shards"), tmp_path / "one", monkeypatch)
    arguments = ("--data", tmp_path / "shards", "--losses", STEPS, "--double", "--out", tmp_path / "two", "--stream")
    two = parallel.losses(2, recipe, *arguments)
    assert len(one) == len(two) == STEPS
    assert max(one) > 1.05 * min(one)  # the batches differ by far more than the tolerance
    assert parallel.largest_difference(one, two) < parallel.TOLERANCE
