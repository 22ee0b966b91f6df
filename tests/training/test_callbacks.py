"""Early stopping and learning-rate drops, replayed epoch by epoch as Keras does them."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mien.models.networks.build import build
from mien.models.spec import MobileNetSpec
from mien.training.callbacks import History, KeepBest, PlateauDrop, weights_finite
from mien.training.module import BASE_RATE, Classifier, Loss
from mien.training.recipe import EarlyStopping, Optimizer, Phase, Plateau

STOPPING = EarlyStopping(min_delta=0.00008, patience=11)
PLATEAU = Plateau(min_delta=0.0001, factor=0.25, patience=4, floor=1e-7)


class Replay:
    """Feeds accuracies to the callbacks, one an epoch; the head's first bias carries the epoch's number."""

    def __init__(
        self, stopping: EarlyStopping | None = STOPPING, plateau: Plateau = PLATEAU, lr: float = 0.0001, first: int = 1
    ) -> None:
        optimizer = Optimizer(name="adam", lr=lr)
        phase = Phase(name="all", train="all", optimizer=optimizer, epochs=100)
        self.module = Classifier(build(MobileNetSpec(cut=1)), phase, Loss(torch.ones(7)))
        self.history = History(phase, [])
        self.best, self.drop = KeepBest(stopping, self.history), PlateauDrop(plateau, self.history)
        self.group: dict[str, Any] = {BASE_RATE: lr}
        self.trainer: Any = SimpleNamespace(should_stop=False, optimizers=[SimpleNamespace(param_groups=[self.group])])
        self.epoch = first - 1
        self.drops: list[int] = []

    def run(self, accuracies: Iterable[float]) -> Replay:
        for accuracy in accuracies:
            if self.trainer.should_stop:
                break
            self.epoch += 1
            self.module.network.head.bias.data[0] = self.epoch
            self.history.rows.append({"val_accuracy": accuracy})
            before = self.group[BASE_RATE]
            self.best.on_train_epoch_end(self.trainer, self.module)
            self.drop.on_train_epoch_end(self.trainer, self.module)
            if self.group[BASE_RATE] != before:
                self.drops.append(self.epoch)
        return self

    @property
    def kept(self) -> int:
        return int(self.best.weights["head.bias"][0])


def climbing(until: int, start: float = 0.47) -> list[float]:
    return [start + 0.001 * step for step in range(until)]


def test_the_articles_run_stops_after_epoch_51_with_the_weights_of_epoch_40() -> None:
    """Its drops came after epochs 21, 33, 44 and 48: four epochs without a gain before each."""
    accuracies = climbing(60)
    for flat, until in ((18, 21), (30, 33), (41, 60)):
        accuracies[flat - 1 : until] = [0.4] * (until - flat + 1)
    replay = Replay().run(accuracies)
    assert replay.epoch == 51
    assert replay.kept == 40
    assert replay.drops == [21, 33, 44, 48]
    assert replay.group[BASE_RATE] == pytest.approx(0.0001 * 0.25**4)


def test_the_rate_does_not_fall_below_its_floor() -> None:
    replay = Replay(stopping=None, lr=1e-6).run([0.5] * 30)
    assert replay.drops == [5, 9]
    assert replay.group[BASE_RATE] == 1e-7


def test_gains_count_from_the_best_and_not_from_the_last_epoch() -> None:
    """Steps below min_delta add up, as in Keras, because the best stays where it was."""
    patience_2 = EarlyStopping(min_delta=0.00008, patience=2)
    slow = Replay(patience_2).run([0.5, 0.50005, 0.5001, 0.50015, 0.5002])
    assert (slow.epoch, slow.kept) == (5, 5)
    flat = Replay(patience_2).run([0.5, 0.50005, 0.50007, 0.6])
    assert (flat.epoch, flat.kept) == (3, 1)


def test_a_gain_of_exactly_min_delta_is_none() -> None:
    stopping, plateau = (
        kind(min_delta=0.25, patience=2, **more) for kind, more in ((EarlyStopping, {}), (Plateau, {"factor": 0.5}))
    )
    replay = Replay(stopping, plateau).run([0.25, 0.5, 0.5])  # type: ignore[arg-type]
    assert (replay.kept, replay.epoch, replay.trainer.should_stop, replay.drops) == (1, 3, True, [3])


def test_without_early_stopping_the_last_weights_count() -> None:
    replay = Replay(None).run([0.9, 0.1, 0.2] * 10)
    assert (replay.epoch, replay.kept, replay.trainer.should_stop) == (30, 30, False)


def test_without_restoring_the_last_weights_count() -> None:
    replay = Replay(EarlyStopping(min_delta=0, patience=3, restore_best=False)).run([0.9, 0.1, 0.2, 0.3, 0.4])
    assert (replay.epoch, replay.kept) == (4, 4)


def test_kept_weights_are_a_copy() -> None:
    replay = Replay().run([0.9])
    replay.module.network.head.bias.data[0] = 99
    assert replay.kept == 1


@pytest.mark.parametrize("cut", [3, 20, 43, 47])
def test_a_checkpoint_between_two_epochs_changes_nothing(cut: int) -> None:
    accuracies = [*climbing(17), *[0.4] * 6, *climbing(17, 0.5), *[0.4] * 20]
    whole = Replay().run(accuracies)
    first = Replay().run(accuracies[:cut])
    second = Replay(first=cut + 1)
    second.group[BASE_RATE] = first.group[BASE_RATE]
    for name in ("history", "best", "drop"):
        getattr(second, name).load_state_dict(getattr(first, name).state_dict())
    second.run(accuracies[cut:])
    assert second.epoch == whole.epoch == 51
    assert second.kept == whole.kept == 40
    assert first.drops + second.drops == whole.drops
    assert second.history.rows == whole.history.rows


def test_a_run_that_had_stopped_does_not_go_on() -> None:
    stopped = Replay().run([0.5, *[0.1] * 11])
    assert stopped.trainer.should_stop
    again = Replay()
    again.best.load_state_dict(stopped.best.state_dict())
    again.best.on_train_start(again.trainer, again.module)
    assert again.trainer.should_stop


def test_the_history_fills_the_list_that_others_share() -> None:
    replay = Replay()
    rows = replay.history.rows
    replay.history.load_state_dict({"rows": [{"epoch": 1}]})
    assert rows == [{"epoch": 1}]


def test_weights_that_are_no_numbers_are_noticed() -> None:
    assert weights_finite({"a": torch.ones(3)})
    for bad in (float("nan"), float("inf")):
        assert not weights_finite({"a": torch.ones(3), "b": torch.tensor([0.0, bad])})
