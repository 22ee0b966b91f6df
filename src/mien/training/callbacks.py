"""Keras' two callbacks, the history, and the lines that a run prints. Their state travels in the checkpoint."""

from __future__ import annotations

import csv
import math
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning as L
import torch
from torch import Tensor, nn

from mien._utils.files import atomic
from mien.training.module import BASE_RATE, Classifier
from mien.training.recipe import EarlyStopping, Phase, Plateau

Row = dict[str, Any]


class History(L.Callback):
    """One row an epoch, through all phases; the first callback, so that the others see the epoch's row."""

    def __init__(self, phase: Phase, rows: list[Row]) -> None:
        self.phase = phase.name
        self.rows = rows
        self._started = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Note the time."""
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Add the epoch's row."""
        assert isinstance(module, Classifier)
        training, validation = module.training_meter.result(), module.validation_meter.result()
        self.rows.append(
            {
                "phase": self.phase,
                "epoch": len(self.rows) + 1,
                "lr": trainer.optimizers[0].param_groups[0]["lr"],
                **{f"train_{name}": value for name, value in training.items()},
                **{f"val_{name}": value for name, value in validation.items()},
                "seconds": time.perf_counter() - self._started,
            }
        )

    def state_dict(self) -> dict[str, Any]:
        """The rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the rows of a checkpoint, in the list that others share."""
        self.rows[:] = state_dict["rows"]


class KeepBest(L.Callback):
    """Keras' EarlyStopping on validation accuracy; without settings it never stops and the last weights count.

    Where weights are averaged, ``average`` gives those that were evaluated.
    """

    def __init__(
        self, how: EarlyStopping | None, history: History, average: Callable[[], dict[str, Tensor]] | None = None
    ) -> None:
        self.how = how
        self.history = history
        self.average = average
        self.best, self.wait, self.stopped = -math.inf, 0, False
        self.weights: dict[str, Tensor] = {}

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """A run that was killed after it had stopped does not train on."""
        trainer.should_stop = self.stopped

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Save the weights of a better epoch; stop training after too long without one."""
        accuracy = self.history.rows[-1]["val_accuracy"]
        better = self.how is None or accuracy - self.how.min_delta > self.best
        self.wait = 0 if better else self.wait + 1
        if better or not (self.how and self.how.restore_best):
            assert isinstance(module, Classifier)
            self.weights = self.average() if self.average else copy_weights(module.network)
        if better:
            self.best = accuracy
        self.stopped = self.how is not None and self.wait >= self.how.patience
        trainer.should_stop = trainer.should_stop or self.stopped

    def state_dict(self) -> dict[str, Any]:
        """The best epoch's weights and the epochs waited since."""
        return {"best": self.best, "wait": self.wait, "stopped": self.stopped, "weights": self.weights}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of a checkpoint."""
        self.best, self.wait, self.stopped = state_dict["best"], state_dict["wait"], state_dict["stopped"]
        self.weights = state_dict["weights"]


def copy_weights(network: nn.Module) -> dict[str, Tensor]:
    """The network's state as it is now, on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}


class PlateauDrop(L.Callback):
    """Keras' ReduceLROnPlateau on validation accuracy.

    A callback of its own because Lightning steps its plateau schedulers after the epoch's checkpoint is written, so
    that a resumed run would miss a drop.
    """

    def __init__(self, how: Plateau, history: History) -> None:
        self.how = how
        self.history = history
        self.best, self.wait = -math.inf, 0

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Lower the rate where there was no gain for ``patience`` epochs."""
        accuracy = self.history.rows[-1]["val_accuracy"]
        if accuracy > self.best + self.how.min_delta:
            self.best, self.wait = accuracy, 0
            return
        self.wait += 1
        if self.wait >= self.how.patience:
            self.wait = 0
            for group in trainer.optimizers[0].param_groups:
                group[BASE_RATE] = max(group[BASE_RATE] * self.how.factor, self.how.floor)

    def state_dict(self) -> dict[str, Any]:
        """The best accuracy and the epochs waited since."""
        return {"best": self.best, "wait": self.wait}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the state of a checkpoint."""
        self.best, self.wait = state_dict["best"], state_dict["wait"]


class OwnSignals(L.Callback):
    """Keeps the caller's answer to SIGTERM while Lightning trains.

    Lightning's own is an exchange between the processes, in the midst of whatever exchange they are at: some wait for
    each other then until they are killed.
    """

    def __init__(self) -> None:
        self.before = signal.getsignal(signal.SIGTERM)

    def on_train_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Take Lightning's handler back; only a main thread has any."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.before)


def weights_finite(weights: dict[str, Tensor]) -> bool:
    """Whether every weight is a finite number."""
    return all(bool(torch.isfinite(tensor).all()) for tensor in weights.values())


def write_history(rows: list[Row], path: Path) -> None:
    """Write the history as CSV, one row an epoch."""
    with atomic(path) as temporary, temporary.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
