"""The LightningModule: loss, running figures and optimizers, in Keras' sense of each."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import lightning as L
import torch
from torch import Tensor
from torch.nn import functional as F

from mien.errors import DivergedError
from mien.models.networks.build import Network
from mien.models.spec import Head
from mien.training.ddp import total
from mien.training.distillation import Teacher
from mien.training.loader import Batch
from mien.training.recipe import Phase

BASE_RATE = "base_lr"
"""Key of an optimizer's parameter group: the rate before the schedule and SGD's decay over time act on it."""

MEND = "Lower the learning rate: --set phases.N.optimizer.lr=..."


BETA = 0.999
"""Of the effective number: a class of n faces counts as (1 - BETA**n) / (1 - BETA), 1000 at most."""


def class_weights(labels: Tensor, classes: int, kind: str) -> Tensor:
    """A weight a class, float32 (classes,): ones, the class's share, or inverse to its count or effective number.

    ``effective`` is scaled so that the weights' mean is 1. A class without faces gets the weight 0 under ``inverse``
    and ``effective``.
    """
    return weights_of_counts(torch.bincount(labels, minlength=classes), kind)


def weights_of_counts(counts: Tensor, kind: str) -> Tensor:
    """As :func:`class_weights`, from how many faces each class has, int64 (classes,)."""
    counts = counts.float()
    if kind == "share":
        return counts / counts.sum()
    if kind == "inverse":
        return torch.where(counts > 0, counts.sum() / (len(counts) * counts), 0.0)
    if kind == "effective":
        weights = torch.where(counts > 0, (1 - BETA) / (1 - BETA**counts), 0.0)
        return weights * len(counts) / weights.sum()
    return torch.ones_like(counts)


def weighted_cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor, smoothing: float = 0.0) -> Tensor:
    """Keras' class-weighted loss: each sample's cross-entropy times its class's weight, averaged over the batch.

    PyTorch's own ``weight=`` divides by the sum of the weights instead; Keras divides by the number of samples.

    Args:
        logits: float (B, classes).
        labels: int64 (B,).
        weights: float (classes,).
        smoothing: the part of each label that is spread evenly over the classes.
    """
    losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing)  # (B,)
    return (losses * weights[labels]).mean()


def votes_cross_entropy(logits: Tensor, shares: Tensor) -> Tensor:
    """Cross-entropy with the crowd's votes, averaged over the batch.

    A face of whose ten votes few went to our classes weighs accordingly little; one without any weighs nothing.

    Args:
        logits: float (B, classes).
        shares: float (B, classes), the part of all votes that each class got; a row sums to 1 at most.
    """
    return -(shares * F.log_softmax(logits, dim=1)).sum(1).mean()


@dataclass(frozen=True)
class Loss:
    """The training loss of a batch.

    Attributes:
        weights: a weight a class, float (classes,); training only, as in Keras.
        smoothing: of the labels.
        votes: what the second head's loss weighs.
        teacher: whose answers count beside labels and votes.
    """

    weights: Tensor
    smoothing: float = 0.0
    votes: float = 1.0
    teacher: Teacher | None = None

    def __call__(self, network: Network, batch: Batch) -> tuple[Tensor, Tensor]:
        """The labels' logits (B, classes) and the loss, a scalar."""
        every = network.every(batch.images)
        logits = every[Head.LABELS]
        loss = weighted_cross_entropy(logits, batch.labels, self.weights.to(logits.device), self.smoothing)
        if batch.shares is not None:
            loss = loss + self.votes * votes_cross_entropy(every[Head.VOTES], batch.shares)
        if self.teacher:
            weight = self.teacher.how.weight
            loss = (1 - weight) * loss + weight * self.teacher.loss(every, batch)
        return logits, loss


class Meter:
    """Sums of an epoch, kept on the device: loss and accuracy over all faces so far, those of all processes."""

    def __init__(self) -> None:
        self.count, self.loss, self.hits = 0, torch.zeros(()), torch.zeros(())

    def update(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Add a batch: its mean loss, logits (B, classes) and labels (B,)."""
        n = len(labels)
        self.count += n
        self.loss = self.loss.to(loss.device) + loss.detach() * n
        self.hits = self.hits.to(loss.device) + (logits.detach().argmax(1) == labels).sum()

    def result(self) -> dict[str, float]:
        """Loss and accuracy; NaN before the first batch. Where processes train together, all must call it."""
        count, loss, hits = total(self.count, float(self.loss), float(self.hits))
        if not count:
            return {"loss": math.nan, "accuracy": math.nan}
        return {"loss": loss / count, "accuracy": hits / count}


class Classifier(L.LightningModule):
    """Trains the layers of a network that require gradients.

    Args:
        network: maps (B, 1, 48, 48) to logits (B, classes).
        phase: its optimizer and schedule.
        loss: how the batches' losses are made.
    """

    def __init__(self, network: Network, phase: Phase, loss: Loss) -> None:
        super().__init__()
        self.network = network
        self.phase = phase
        self.loss = loss
        self.training_meter, self.validation_meter = Meter(), Meter()

    def on_train_epoch_start(self) -> None:
        """Start the epoch's sums."""
        self.training_meter = Meter()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the teacher's outputs, so that a resumed run need not compute them again."""
        if self.loss.teacher:
            checkpoint["teacher"] = self.loss.teacher.answers

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Load the teacher's outputs."""
        if self.loss.teacher:
            self.loss.teacher.answers.update(checkpoint["teacher"])

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the rate of this step: the schedule, and SGD's decay over time."""
        step, factor = self.global_step, 1.0
        if self.phase.one_cycle:
            factor = self.phase.one_cycle.factor(step, self.phase.epochs * int(self.trainer.num_training_batches))
        for group in self.optimizers(use_pl_optimizer=False).param_groups:  # type: ignore[union-attr]
            group["lr"] = group[BASE_RATE] * factor / (1 + self.phase.optimizer.decay * step)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch.

        Raises:
            DivergedError: where it is not a finite number.
        """
        logits, loss = self.loss(self.network, batch)
        if not torch.isfinite(loss):
            raise DivergedError(
                f"the loss became {float(loss.detach())} in step {batch_idx + 1} of epoch {self.current_epoch + 1}",
                mend=MEND,
            )
        if batch.weight:
            self.training_meter.update(loss, logits, batch.labels)
        return loss if batch.weight == 1 else loss * batch.weight

    def on_validation_epoch_start(self) -> None:
        """Start the validation's sums."""
        self.validation_meter = Meter()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add a batch to the validation's sums: neither weighted nor augmented.

        Raises:
            DivergedError: where the loss is not a finite number, as after an epoch whose last step was too far.
        """
        logits = self.network(batch.images)
        loss = F.cross_entropy(logits, batch.labels)
        if not torch.isfinite(loss):
            raise DivergedError(
                f"the validation loss became {float(loss)} after epoch {self.current_epoch + 1}", mend=MEND
            )
        self.validation_meter.update(loss, logits, batch.labels)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The phase's optimizer over the layers that train."""
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        how = self.phase.optimizer
        optimizer: torch.optim.Optimizer
        if how.name == "adam":
            optimizer = torch.optim.Adam(parameters, how.lr, eps=how.epsilon, fused=True)
        elif how.name == "adamw":
            matrices, others = ([p for p in parameters if (p.ndim > 1) is many] for many in (True, False))
            groups = [{"params": matrices, "weight_decay": how.weight_decay}, {"params": others, "weight_decay": 0.0}]
            optimizer = torch.optim.AdamW(groups, how.lr, eps=how.epsilon, fused=True)
        elif how.name == "nadam":
            optimizer = torch.optim.NAdam(parameters, how.lr, eps=how.epsilon)
        else:
            optimizer = torch.optim.SGD(parameters, how.lr, momentum=how.momentum)
        for group in optimizer.param_groups:
            group[BASE_RATE] = how.lr
        return optimizer
