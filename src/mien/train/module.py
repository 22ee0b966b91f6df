"""The LightningModule: loss, running figures and optimizers, in Keras' sense of each."""

from __future__ import annotations

import math
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.nn import functional as F

from mien.errors import DivergedError
from mien.model.networks import Network
from mien.train.recipe import Optimizer

BASE_RATE = "base_lr"
"""Key of an optimizer's parameter group: the rate before SGD's decay over time."""

MEND = "Lower the learning rate: --set phases.N.optimizer.lr=..."


def class_weights(labels: Tensor, classes: int, kind: str) -> Tensor:
    """A weight a class, float32 (classes,): ones, the class's share, or n / (classes * count).

    A class without faces gets the weight 0 under ``inverse``.
    """
    counts = torch.bincount(labels, minlength=classes).float()
    if kind == "share":
        return counts / counts.sum()
    if kind == "inverse":
        return torch.where(counts > 0, counts.sum() / (classes * counts), 0.0)
    return torch.ones_like(counts)


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Keras' class-weighted loss: each sample's cross-entropy times its class's weight, averaged over the batch.

    PyTorch's own ``weight=`` divides by the sum of the weights instead; Keras divides by the number of samples.

    Args:
        logits: float (B, classes).
        labels: int64 (B,).
        weights: float (classes,).
    """
    return (F.cross_entropy(logits, labels, reduction="none") * weights[labels]).mean()


class Meter:
    """Sums of an epoch, kept on the device: loss and accuracy over all faces so far."""

    def __init__(self) -> None:
        self.count, self.loss, self.hits = 0, torch.zeros(()), torch.zeros(())

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: its mean loss, logits (B, classes) and labels (B,)."""
        n = len(labels)
        self.count += n
        self.loss = self.loss.to(loss.device) + loss.detach() * n
        self.hits = self.hits.to(loss.device) + (logits.detach().argmax(1) == labels).sum()

    def result(self) -> dict[str, float]:
        """Loss and accuracy; NaN before the first batch."""
        if not self.count:
            return {"loss": math.nan, "accuracy": math.nan}
        return {"loss": float(self.loss) / self.count, "accuracy": float(self.hits) / self.count}


class Classifier(L.LightningModule):
    """Trains the layers of a network that require gradients.

    Args:
        network: maps (B, 1, 48, 48) to logits (B, classes).
        optimizer: the phase's optimizer.
        weights: a weight a class, float (classes,); training only, as in Keras.
    """

    def __init__(self, network: Network, optimizer: Optimizer, weights: Tensor) -> None:
        super().__init__()
        self.network = network
        self.settings = optimizer
        self.weights = weights
        self.training_meter, self.validation_meter = Meter(), Meter()

    def on_train_epoch_start(self) -> None:
        """Start the epoch's sums."""
        self.training_meter = Meter()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Apply SGD's decay over time to the rate of this step."""
        for group in self.optimizers(use_pl_optimizer=False).param_groups:  # type: ignore[union-attr]
            group["lr"] = group[BASE_RATE] / (1 + self.settings.decay * self.global_step)

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        """The loss of a batch.

        Raises:
            DivergedError: where it is not a finite number.
        """
        images, labels = batch
        logits = self.network(images)
        loss = weighted_cross_entropy(logits, labels, self.weights.to(logits.device))
        if not torch.isfinite(loss):
            raise DivergedError(
                f"the loss became {float(loss.detach())} in step {batch_idx + 1} of epoch {self.current_epoch + 1}",
                mend=MEND,
            )
        self.training_meter.update(loss, logits, labels)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Start the validation's sums."""
        self.validation_meter = Meter()

    def validation_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """Add a batch to the validation's sums: neither weighted nor augmented.

        Raises:
            DivergedError: where the loss is not a finite number, as after an epoch whose last step was too far.
        """
        images, labels = batch
        logits = self.network(images)
        loss = F.cross_entropy(logits, labels)
        if not torch.isfinite(loss):
            raise DivergedError(
                f"the validation loss became {float(loss)} after epoch {self.current_epoch + 1}", mend=MEND
            )
        self.validation_meter.update(loss, logits, labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The phase's optimizer over the layers that train."""
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        how = self.settings
        optimizer: torch.optim.Optimizer
        if how.name == "adam":
            optimizer = torch.optim.Adam(parameters, how.lr, eps=how.epsilon, fused=True)
        elif how.name == "nadam":
            optimizer = torch.optim.NAdam(parameters, how.lr, eps=how.epsilon)
        else:
            optimizer = torch.optim.SGD(parameters, how.lr, momentum=how.momentum)
        for group in optimizer.param_groups:
            group[BASE_RATE] = how.lr
        return optimizer
