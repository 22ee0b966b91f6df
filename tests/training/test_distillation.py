"""Learning from a teacher: the loss by hand, and that a student ends up saying what its teacher says."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import tiny_recipe
from mien.data import Faces
from mien.emotions import LABELS
from mien.errors import ModelError, RecipeError
from mien.models.bundle import save_bundle
from mien.models.networks.build import build
from mien.models.onnx.session import Session
from mien.models.preprocessing import Preprocessing
from mien.models.spec import Head, MobileNetSpec
from mien.training import Run, train
from mien.training.distillation import Distillation, Teacher
from mien.training.loader import Batch
from mien.training.module import Loss

PHASE = {"name": "all", "train": "all", "epochs": 1, "optimizer": {"name": "adamw", "lr": 0.002}}


def teacher(run: Run, **how: Any) -> Teacher:
    settings = Distillation(teacher=str(run.out), **{"weight": 0.5, **how})
    return Teacher.load(settings, run.recipe.preprocessing, LABELS)


def test_the_teacher_answers_as_its_bundle(tiny_run: Run, drawn: Faces) -> None:
    assert tiny_run.bundle is not None
    x = torch.from_numpy(drawn.images[:5, None].astype(np.float32) / 255)
    found = teacher(tiny_run).network.every(x)[Head.LABELS].numpy()
    assert np.abs(found - Session(tiny_run.bundle).logits(drawn.images[:5])[Head.LABELS]).max() < 1e-4


@pytest.mark.parametrize("warmth", [1.0, 3.0])
def test_the_loss_by_hand(tiny_run: Run, warmth: float) -> None:
    taught = teacher(tiny_run, temperature=warmth)
    images, logits = torch.rand(3, 1, 48, 48), torch.randn(3, 7)
    answers = taught.network.every(images)[Head.LABELS].tolist()
    total = 0.0
    for theirs, ours in zip(answers, logits.tolist(), strict=True):
        target = [math.exp(value / warmth) for value in theirs]
        norm = math.log(sum(math.exp(value / warmth) for value in ours))
        total -= sum(t / sum(target) * (value / warmth - norm) for t, value in zip(target, ours, strict=True))
    found = taught.loss({Head.LABELS: logits, Head.VOTES: torch.randn(3, 7)}, Batch(images, torch.zeros(3)))
    assert float(found) == pytest.approx(warmth**2 * total / 3, rel=1e-3)


def test_weights_share_the_loss_and_the_teacher_stays_as_it_is(tiny_run: Run) -> None:
    taught = teacher(tiny_run, weight=0.25)
    network, batch = build(MobileNetSpec(cut=1)), Batch(torch.rand(4, 1, 48, 48), torch.tensor([0, 1, 2, 3]))
    _, loss = Loss(torch.ones(7), teacher=taught)(network, batch)
    _, alone = Loss(torch.ones(7))(network, batch)
    answers = taught.loss(network.every(batch.images), batch)
    assert float(loss.detach()) == pytest.approx(
        0.75 * float(alone.detach()) + 0.25 * float(answers.detach()), rel=1e-5
    )
    loss.backward()
    assert all(tensor.grad is None for tensor in taught.network.parameters())
    assert not taught.network.training


def test_the_teacher_runs_once_on_each_batch(tiny_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    taught = teacher(tiny_run)
    asked: list[int] = []
    every = taught.network.every
    monkeypatch.setattr(taught.network, "every", lambda images: asked.append(len(images)) or every(images))
    images = torch.rand(4, 1, 48, 48)
    logits = {Head.LABELS: torch.randn(4, 7)}
    first, again, other, nowhere = (
        float(taught.loss(logits, Batch(images, torch.zeros(4), key=key))) for key in (5, 5, 6, None)
    )
    assert asked == [4, 4, 4]
    assert first == again == other == nowhere


def test_views_come_round_and_a_killed_run_ends_the_same(tiny_run: Run, drawn: Faces, tmp_path: Path) -> None:
    how = {"teacher": str(tiny_run.out), "weight": 0.5, "views": 2}
    recipe = tiny_recipe(network={"name": "cnn"}, phases=[{**PHASE, "epochs": 3}], augment={"flip": True}, distill=how)
    whole = train(recipe, drawn, tmp_path / "whole", device="cpu")

    def stop(row: dict[str, Any]) -> None:
        if row["epoch"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, drawn, tmp_path / "cut", device="cpu", on_epoch=stop)
    cut = train(recipe, drawn, tmp_path / "cut", device="cpu", resume=True)
    assert whole.bundle is not None
    assert cut.bundle is not None
    assert all(np.array_equal(array, cut.bundle.weights[name]) for name, array in whole.bundle.weights.items())


def test_a_student_of_only_a_teacher_learns_its_answers(tiny_run: Run, drawn: Faces, tmp_path: Path) -> None:
    """A teacher with a strong leaning, which is not that of the labels."""
    assert tiny_run.bundle is not None
    weights = {**tiny_run.bundle.weights, "head.bias": np.array([0, 0, 3, 0, 0, 1, -1], np.float32)}
    leaning = save_bundle(replace(tiny_run.bundle, weights=weights), tmp_path / "teacher.mien")
    how = {"teacher": str(leaning.path), "weight": 1.0}
    recipe = tiny_recipe(network={"name": "cnn"}, phases=[{**PHASE, "epochs": 10}], class_weights="none", distill=how)
    run = train(recipe, drawn, tmp_path / "run", device="cpu")
    assert run.bundle is not None
    assert run.bundle.card.provenance["teacher"] == leaning.sha256
    images = drawn.select("Training").images
    said, taught = (Session(b).probabilities(images)[Head.LABELS].mean(0) for b in (run.bundle, leaning))
    assert taught[2] > 0.6
    assert said == pytest.approx(taught, abs=0.1)


def test_a_teacher_that_does_not_fit_is_refused(tiny_run: Run, tmp_path: Path) -> None:
    how = Distillation(teacher=str(tiny_run.out), weight=0.5)
    with pytest.raises(RecipeError, match="other input"):
        Teacher.load(how, Preprocessing(scaling="signed"), LABELS)
    with pytest.raises(RecipeError, match="classes are Angry"):
        Teacher.load(how, Preprocessing(), tuple("abcdefg"))
    with pytest.raises(ModelError, match="no such model"):
        Teacher.load(Distillation(teacher=str(tmp_path / "none.mien"), weight=1), Preprocessing(), LABELS)
