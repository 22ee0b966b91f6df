"""The running mean of the weights, against one computed by hand."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch

from conftest import tiny_recipe
from mien.data import Faces
from mien.models.networks.build import build
from mien.models.spec import MobileNetSpec
from mien.training import train
from mien.training.callbacks import copy_weights
from mien.training.module import Classifier, Loss
from mien.training.recipe import Phase
from mien.training.weight_average import RunningAverage

PHASE = {"name": "all", "train": "all", "epochs": 3, "optimizer": {"name": "adamw", "lr": 0.002}}


@pytest.mark.parametrize("decay", [0.5, 0.998])
def test_the_mean_by_hand(decay: float) -> None:
    module = Classifier(build(MobileNetSpec(cut=1)), Phase.model_validate(PHASE), Loss(torch.ones(7)))
    average = RunningAverage(decay)
    trainer: Any = type("Trainer", (), {"global_step": 0})()
    average.setup(trainer, module, "fit")
    expected: dict[str, torch.Tensor] = {}
    for step in range(30):
        with torch.no_grad():
            for tensor in [*module.parameters(), *module.buffers()]:
                if tensor.is_floating_point():
                    tensor.add_(torch.randn_like(tensor))
        trainer.global_step = step + 1
        average.on_train_batch_end(trainer, module, None, None, step)
        keep = min(decay, (1 + step) / (10 + step)) if step else 0.0
        now = copy_weights(module.network)
        now = {name: tensor for name, tensor in now.items() if tensor.is_floating_point()}
        expected = {name: keep * expected[name] + (1 - keep) * now[name] if step else now[name] for name in now}
    found = average.weights()
    for name, tensor in expected.items():
        assert torch.allclose(found[name], tensor, atol=1e-5), name


def test_the_mean_is_what_is_evaluated_and_kept(drawn: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluated: list[dict[str, torch.Tensor]] = []

    def note(self: Classifier, batch: Any, batch_idx: int) -> None:
        evaluated.append(copy_weights(self.network))
        step(self, batch, batch_idx)

    step = Classifier.validation_step
    monkeypatch.setattr(Classifier, "validation_step", note)
    run = train(tiny_recipe(average=0.9, phases=[PHASE]), drawn, tmp_path / "run", device="cpu")
    plain = train(tiny_recipe(phases=[PHASE]), drawn, tmp_path / "plain", device="cpu")
    assert run.bundle is not None
    assert plain.bundle is not None
    assert len(evaluated) == 6
    for name, kept in run.bundle.weights.items():
        assert np.array_equal(kept, evaluated[2][name].numpy()), name
        assert not np.array_equal(kept, plain.bundle.weights[name]), name
    assert [row["train_loss"] for row in run.rows] == [row["train_loss"] for row in plain.rows]


def test_a_resumed_run_has_the_same_mean(drawn: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cycle = {**PHASE, "one_cycle": {"warmup": 0.2}}
    recipe = tiny_recipe(average=0.9, phases=[cycle], augment={"flip": True, "erase": 0.5, "contrast": 0.2})
    whole = train(recipe, drawn, tmp_path / "run", seed=1, device="cpu")

    class StopError(Exception):
        pass

    def stop(trainer: L.Trainer, *rest: Any) -> None:
        if trainer.current_epoch == 1:
            raise StopError

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "on_validation_epoch_start", lambda self: stop(self.trainer))
        with pytest.raises(StopError):
            train(recipe, drawn, tmp_path / "again", seed=1, device="cpu")
    again = train(recipe, drawn, tmp_path / "again", seed=1, device="cpu", resume=True)
    shutil.rmtree(tmp_path / "again")
    assert whole.bundle is not None
    assert again.bundle is not None
    for name, kept in whole.bundle.weights.items():
        assert np.array_equal(kept, again.bundle.weights[name]), name
