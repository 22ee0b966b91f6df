"""What a run shows while it lasts: a progress bar with rate and time left, and none of Lightning's remarks."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import lightning as L
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn


class Bar(L.Callback):
    """One bar an epoch: phase, epoch, faces a second, time left in the epoch."""

    def __init__(self, phase: str, batch_size: int) -> None:
        self.phase, self.batch_size = phase, batch_size
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} steps  {task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task: TaskID | None = None

    def on_train_epoch_start(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Begin the epoch's bar."""
        self._close()
        self._progress.start()
        name = f"{self.phase} {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self._task = self._progress.add_task(name, total=trainer.num_training_batches, rate="")

    def on_train_batch_end(self, trainer: L.Trainer, module: L.LightningModule, *_: Any) -> None:
        """Advance by one step."""
        assert self._task is not None
        self._progress.advance(self._task)
        speed = self._progress.tasks[0].speed
        self._progress.update(self._task, rate="" if speed is None else f"{speed * self.batch_size:,.0f} faces/s")

    def on_train_epoch_end(self, trainer: L.Trainer, module: L.LightningModule) -> None:
        """Take the bar away."""
        self._close()

    def on_exception(self, trainer: L.Trainer, module: L.LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        self._close()

    def _close(self) -> None:
        self._progress.stop()
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Lightning's remarks on set-up and loaders are not for our users; the caller's settings come back after."""
    names = ("lightning.pytorch", "lightning.fabric", "lightning.pytorch.utilities.rank_zero")
    levels = {name: logging.getLogger(name).level for name in names}
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="lightning")
            warnings.filterwarnings("ignore", message=".*does not have many workers.*")
            for name in names:
                logging.getLogger(name).setLevel(logging.ERROR)
            yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).setLevel(level)
