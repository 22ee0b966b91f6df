"""A running mean of the weights, which is evaluated and saved instead of the last ones."""

from __future__ import annotations

from typing import Any

import lightning as L
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from mien.training.callbacks import copy_weights
from mien.training.module import Classifier


class RunningAverage(WeightAveraging):
    """Averages weights and batch-norm statistics after every step, and lends them to each validation.

    The mean forgets by ``decay`` a step; in the first steps faster, by (1 + t) / (10 + t), so that it does not cling to
    where training began.
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=_warming(decay))

    def weights(self) -> dict[str, Tensor]:
        """The averaged network's state, copied to the CPU."""
        assert self._average_model is not None
        module = self._average_model.module
        assert isinstance(module, Classifier)
        return copy_weights(module.network)

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Do nothing: the run uses the saved weights."""


def _warming(decay: float) -> Any:
    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        keep = min(decay, (1 + float(count)) / (10 + float(count)))
        get_ema_multi_avg_fn(keep)(averaged, current, count)  # type: ignore[no-untyped-call]

    return update
