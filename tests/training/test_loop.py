"""Training runs from end to end, on a few drawn faces."""

from __future__ import annotations

import csv
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from conftest import TINY, Ran, tiny_recipe, write_recipe
from mien.data import Faces
from mien.emotions import FERPLUS_OF_EMOTION, Output
from mien.errors import DataError, DivergedError, RecipeError, WeightsError
from mien.evaluation import evaluate
from mien.inference import Predictor
from mien.models.calibration import LOSS
from mien.models.load import load_bundle
from mien.models.output import with_output
from mien.models.spec import Head
from mien.training import Run, load_recipe, train
from mien.training.module import Classifier

EXPLODING = {"name": "sgd", "lr": 1e38}


def phase(name: str, part: str, **changes: object) -> dict[str, Any]:
    return {"name": name, "train": part, "epochs": 1, "optimizer": {"name": "adam", "lr": 0.001}, **changes}


def history(out: Path) -> list[dict[str, str]]:
    with (out / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_run_leaves_what_it_promises(tiny_run: Run, drawn: Faces) -> None:
    out = tiny_run.out
    assert {path.name for path in out.iterdir()} == {"recipe.yaml", "history.csv", "best.mien", "checkpoints"}
    assert {path.name for path in tiny_run.checkpoints.iterdir()} == {
        "lock", "run.json", "1-head.ckpt", "1-head.safetensors", "2-all.ckpt", "2-all.safetensors"
    }  # fmt: skip
    assert load_recipe(out / "recipe.yaml") == tiny_run.recipe
    rows = history(out)
    assert list(rows[0]) == [
        "phase", "epoch", "lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "seconds"
    ]  # fmt: skip
    assert [(row["phase"], row["epoch"]) for row in rows] == [("head", "1"), ("head", "2"), ("all", "3"), ("all", "4")]
    assert [float(row["lr"]) for row in rows] == [0.01, 0.01, 0.001, 0.001]
    for written, kept in zip(rows, tiny_run.rows, strict=True):
        assert float(written["val_accuracy"]) == kept["val_accuracy"]
        assert float(written["val_accuracy"]) * 15 == pytest.approx(round(float(written["val_accuracy"]) * 15))
        assert 0 < float(written["train_loss"]) < 0.6  # shares weigh about a seventh
        assert float(written["val_loss"]) > 1
    bundle = load_bundle(out)
    provenance = bundle.card.provenance
    assert tiny_run.bundle is not None
    assert bundle.sha256 == tiny_run.bundle.sha256
    assert provenance["data"]["fingerprint"] == drawn.fingerprint
    assert (provenance["seed"], provenance["epochs"], provenance["device"]) == (1, 4, "cpu")
    assert provenance["recipe"] == tiny_run.recipe.model_dump(mode="json")
    assert tiny_run.seconds == pytest.approx(sum(row["seconds"] for row in tiny_run.rows))


def test_the_seed_decides_the_weights_bit_for_bit(tiny_run: Run, drawn: Faces, tmp_path: Path) -> None:
    torch.manual_seed(99)
    again = train(tiny_recipe(), drawn, tmp_path / "a", seed=1, device="cpu").bundle
    other = train(tiny_recipe(), drawn, tmp_path / "b", seed=2, device="cpu").bundle
    assert tiny_run.bundle is not None
    assert again is not None
    assert other is not None
    assert all(np.array_equal(again.weights[name], array) for name, array in tiny_run.bundle.weights.items())
    assert not np.array_equal(other.weights["head.weight"], again.weights["head.weight"])


def test_every_epoch_of_every_phase_has_its_own_order(
    drawn: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[int, ...]] = []
    step = Classifier.training_step

    def noting(self: Classifier, batch: Any, batch_idx: int) -> torch.Tensor:
        seen.append(tuple(batch[1].tolist()))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Classifier, "training_step", noting)
    train(tiny_recipe(), drawn, tmp_path / "run", device="cpu")
    epochs = [sum(seen[start : start + 4], ()) for start in range(0, 16, 4)]
    assert len(set(epochs)) == 4
    wanted = sorted(drawn.select("Training").emotion)
    assert all(sorted(epoch) == wanted for epoch in epochs)


def test_the_head_phase_moves_the_head_alone(drawn: Faces, tmp_path: Path) -> None:
    first, second = (
        train(tiny_recipe(phases=phases, batch_norm="frozen"), drawn, tmp_path / name, device="cpu").bundle
        for name, phases in (("a", [phase("head", "head")]), ("b", [phase("head", "head"), phase("all", "all")]))
    )
    assert first is not None
    assert second is not None
    changed = {name for name, array in first.weights.items() if not np.array_equal(array, second.weights[name])}
    assert {"head.weight", "features.conv1.weight", "features.conv_dw_2.norm.bias"} <= changed
    torch.manual_seed(0)
    from mien.models.networks.build import build

    start = build(first.card.network).state_dict()
    moved = {name for name, array in first.weights.items() if not np.array_equal(array, start[name].numpy())}
    assert moved == {"head.weight", "head.bias"}


def test_frozen_norms_keep_their_statistics_from_the_first_step_on(
    drawn: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    step = Classifier.training_step

    def noting(self: Classifier, batch: Any, batch_idx: int) -> torch.Tensor:
        norms = [module for module in self.modules() if isinstance(module, torch.nn.BatchNorm2d)]
        modes.append((self.network.training, any(norm.training for norm in norms)))
        return step(self, batch, batch_idx)

    monkeypatch.setattr(Classifier, "training_step", noting)
    frozen = tiny_recipe(batch_norm="frozen", phases=[phase("all", "all", epochs=2)])
    bundle = train(frozen, drawn, tmp_path / "frozen", device="cpu").bundle
    assert bundle is not None
    assert modes == [(True, False)] * 8
    for name, array in bundle.weights.items():
        if "running" in name:
            assert (array == (0 if name.endswith("mean") else 1)).all(), name


def test_norms_that_train_take_up_the_statistics_of_the_faces(tiny_run: Run) -> None:
    assert tiny_run.bundle is not None
    assert (tiny_run.bundle.weights["features.conv1.norm.running_mean"] != 0).any()


def test_the_cnn_learns_a_few_faces_by_heart(drawn: Faces, tmp_path: Path) -> None:
    recipe = tiny_recipe(
        network={"name": "cnn"},
        augment={},
        preprocessing={"scaling": "signed"},
        class_weights="none",
        batch_size=8,
        phases=[phase("all", "all", epochs=30)],
    )
    rows = train(recipe, drawn.take(np.arange(30)), tmp_path / "cnn", device="cpu").rows
    assert rows[0]["train_accuracy"] < 0.5
    assert rows[-1]["train_accuracy"] > 0.9


def test_sgds_rate_decays_by_steps_within_a_phase_and_drops_hold(drawn: Faces, tmp_path: Path) -> None:
    """Four steps an epoch: the last step of epoch e is number 4e - 1, from 0, and each phase counts anew."""
    sgd = {"name": "sgd", "lr": 0.1, "decay": 0.01}
    plateau = {"min_delta": 1.0, "factor": 0.5, "patience": 1}
    phases = [phase("a", "head", epochs=3, optimizer=sgd), phase("b", "head", epochs=3, optimizer=sgd, plateau=plateau)]
    rows = train(tiny_recipe(phases=phases), drawn, tmp_path / "sgd", device="cpu").rows
    decayed = [0.1 / 1.03, 0.1 / 1.07, 0.1 / 1.11]
    drops = [1, 1, 0.5]  # the first epoch is the best; the second is the first without a gain
    assert [row["lr"] for row in rows] == pytest.approx(
        [*decayed, *(d * r for d, r in zip(drops, decayed, strict=True))]
    )


def test_early_stopping_ends_a_phase_and_the_next_starts_afresh(drawn: Faces, tmp_path: Path) -> None:
    stopping = {"min_delta": 1.0, "patience": 2}
    phases = [phase(name, "head", epochs=9, early_stopping=stopping) for name in ("a", "b")]
    seen: list[int] = []
    run = train(
        tiny_recipe(phases=phases),
        drawn,
        tmp_path / "run",
        device="cpu",
        on_epoch=lambda row: seen.append(row["epoch"]),
    )
    assert [row["phase"] for row in run.rows] == ["a"] * 3 + ["b"] * 3
    assert seen == [1, 2, 3, 4, 5, 6]


def test_a_used_folder_is_refused_without_resume(tiny_run: Run, drawn: Faces) -> None:
    assert tiny_run.bundle is not None
    with pytest.raises(RecipeError, match=r"there is a run already.*--resume"):
        train(tiny_run.recipe, drawn, tiny_run.out, seed=1, device="cpu")
    assert load_bundle(tiny_run.out).sha256 == tiny_run.bundle.sha256


def without_labels(faces: Faces) -> Faces:
    return replace(faces, emotion=np.where(faces.usage == 0, faces.emotion, -1))


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (without_labels, "15 faces have no label"),
        (lambda faces: faces.take(faces.usage == 0), "no faces in the split PublicTest"),
    ],
)
def test_data_that_do_not_fit_are_refused(
    drawn: Faces, tmp_path: Path, spoil: Callable[[Faces], Faces], what: str
) -> None:
    with pytest.raises(DataError, match=what):
        train(tiny_recipe(), spoil(drawn), tmp_path / "run", device="cpu")


def test_without_votes_a_recipe_trains_without_the_ferplus_head(drawn: Faces, tmp_path: Path) -> None:
    recipe = tiny_recipe(network={"name": "mobilenet", "cut": 2, "votes": True})
    run = train(recipe, drawn, tmp_path / "run", device="cpu")
    assert run.bundle is not None
    assert run.bundle.card.heads == (Head.LABELS,)


def test_a_model_with_two_heads_is_trained_calibrated_and_judged(drawn: Faces, tmp_path: Path) -> None:
    """Votes that see the next emotion in every face: the heads must end up apart."""
    votes = np.zeros((len(drawn), 10), np.uint8)
    votes[np.arange(len(drawn)), np.array(FERPLUS_OF_EMOTION)[(drawn.emotion + 1) % 7]] = 10
    faces = replace(drawn, votes=votes)
    phase = {"name": "all", "train": "all", "epochs": 12, "optimizer": {"name": "adamw", "lr": 0.003}}
    phase["one_cycle"] = {"warmup": 0.1}
    settings = {"network": {"name": "mobilenet", "cut": 4, "votes": True}, "phases": [phase], "batch_size": 8}
    recipe = tiny_recipe(**settings, class_weights="none", augment={}, average=0.9, calibrate=True)
    run = train(recipe, faces, tmp_path / "run", device="cpu")
    assert run.bundle is not None
    calibration = run.bundle.card.calibration
    assert 1.0 not in (calibration.temperature, calibration.votes_temperature)
    found = evaluate(run.bundle, faces, "Training")
    assert found.to_dict()["output"] == run.bundle.card.output
    assert run.bundle.card.output.startswith("default: ")
    assert found.figures["heads"]["fer2013"]["accuracy"] > 0.9
    assert found.figures["heads"]["ferplus"]["ferplus"]["agreement"] > 0.9
    assert found.figures["ferplus"]["agreement"] > 0.9 - LOSS
    shown = Predictor(run.bundle).faces(faces.select("Training").images)
    assert [face.emotion for face in shown] == [faces.labels[k] for k in found.predicted]
    labels = evaluate(with_output(run.bundle, "fer2013"), faces, "Training")
    assert labels.accuracy == found.figures["heads"]["fer2013"]["accuracy"]
    assert {one: sum(shares) for one, shares in calibration.shares.items()} == pytest.approx(dict.fromkeys(Output, 1.0))


def test_devices_and_weights_that_do_not_fit_are_refused(drawn: Faces, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="there is no device 'tpu'"):
        train(tiny_recipe(), drawn, tmp_path / "a", device="tpu")
    with pytest.raises(WeightsError, match="takes no ImageNet weights"):
        train(tiny_recipe(network={"name": "cnn"}), drawn, tmp_path / "b", weights="w.h5", device="cpu")
    with pytest.raises(WeightsError, match=r"gone\.h5: no such file"):
        train(tiny_recipe(imagenet=True), drawn, tmp_path / "c", weights=tmp_path / "gone.h5", device="cpu")


def test_divergence_in_the_first_epoch_is_one_line_and_exit_code_3(
    mien: Callable[..., Ran], drawn_csv: Path, tmp_path: Path
) -> None:
    recipe = write_recipe(tmp_path / "r.yaml", phases=[phase("all", "all", optimizer=EXPLODING)])
    ran = mien("train", recipe, "--data", drawn_csv, "--out", tmp_path / "run", "--device", "cpu")
    assert (ran.code, ran.out) == (3, "")
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("error: short: the loss became ")
    assert "no epoch had ended" in ran.err
    assert "Lower the learning rate" in ran.err
    assert not (tmp_path / "run" / "best.mien").exists()


def test_divergence_in_a_later_phase_keeps_the_last_good_weights(drawn: Faces, tmp_path: Path) -> None:
    phases = [phase("head", "head"), phase("all", "all", optimizer=EXPLODING)]
    good = train(tiny_recipe(phases=phases[:1]), drawn, tmp_path / "good", device="cpu").bundle
    with pytest.raises(DivergedError, match=r"the weights of the last good epoch are in .*best\.mien"):
        train(tiny_recipe(phases=phases), drawn, tmp_path / "run", device="cpu")
    kept = load_bundle(tmp_path / "run")
    assert good is not None
    assert kept.weights.keys() == good.weights.keys()
    assert all(np.array_equal(kept.weights[name], array) for name, array in good.weights.items())
    assert len(history(tmp_path / "run")) == 1


@pytest.mark.parametrize("size", [120, 60])
def test_weights_that_burst_in_an_epochs_last_step_never_become_a_bundle(
    drawn: Faces, tmp_path: Path, size: int
) -> None:
    """With one step an epoch no later step of it would notice, so that the epoch's end must."""
    recipe = tiny_recipe(batch_size=size, phases=[phase("all", "all", optimizer=EXPLODING)])
    with pytest.raises(DivergedError):
        train(recipe, drawn, tmp_path / "run", device="cpu")
    assert not (tmp_path / "run" / "best.mien").exists()


LOGGERS = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")


@pytest.fixture
def levels() -> Iterator[dict[str, int]]:
    before = {name: logging.getLogger(name).level for name in LOGGERS}
    chosen = dict(zip(LOGGERS, (logging.DEBUG, logging.INFO, logging.WARNING), strict=True))
    for name, level in chosen.items():
        logging.getLogger(name).setLevel(level)
    yield chosen
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.parametrize("optimizer", [{"name": "adam", "lr": 0.001}, EXPLODING])
def test_the_callers_settings_stay_as_they_were(
    drawn: Faces, tmp_path: Path, levels: dict[str, int], optimizer: dict[str, Any]
) -> None:
    """Random state, logging, warnings and gradients: of a run that ends well, and of one that diverges."""
    torch.manual_seed(5)
    random = torch.get_rng_state()
    drawn_by_numpy = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    filters = list(warnings.filters)
    recipe = tiny_recipe(phases=[phase("all", "all", optimizer=optimizer)])
    try:
        train(recipe, drawn, tmp_path / "run", device="cpu")
    except DivergedError:
        assert optimizer == EXPLODING
    assert torch.equal(torch.get_rng_state(), random)
    assert np.array_equal(np.random.get_state()[1], drawn_by_numpy)  # type: ignore[index]
    assert {name: logging.getLogger(name).level for name in LOGGERS} == levels
    assert list(warnings.filters) == filters
    assert torch.is_grad_enabled()


def test_tensorboard_gets_every_epoch_of_every_phase(drawn: Faces, tmp_path: Path) -> None:
    from tensorboardX.proto.event_pb2 import Event

    run = train(tiny_recipe(), drawn, tmp_path / "run", device="cpu", tensorboard=True)
    found = []
    for name in ("1-head", "2-all"):
        (path,) = (run.out / "tensorboard" / name).glob("events*")
        data, place = path.read_bytes(), 0
        while place < len(data):
            size = int.from_bytes(data[place : place + 8], "little")
            event = Event.FromString(data[place + 12 : place + 12 + size])
            found += [(event.step, value.simple_value) for value in event.summary.value if value.tag == "val_accuracy"]
            place += 16 + size
    assert found == [(row["epoch"], pytest.approx(row["val_accuracy"])) for row in run.rows]


def test_nothing_is_said_but_by_the_caller(
    drawn: Faces, tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    train(tiny_recipe(phases=TINY["phases"][:1]), drawn, tmp_path / "run", device="cpu")
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")
    assert [str(warning.message) for warning in recwarn] == []
