"""Learning from a larger model's answers on the same augmented views.

Source: Hinton et al. 2015, arXiv:1503.02531; that teacher and student see the same view: Beyer et al. 2022,
arXiv:2106.05237.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F

from mien.errors import RecipeError
from mien.models.bundle import Card
from mien.models.load import load_bundle
from mien.models.networks.build import Network, load_network
from mien.models.preprocessing import Preprocessing
from mien.models.spec import Head
from mien.training.loader import Batch


class Distillation(BaseModel):
    """The teacher, and the weight of its outputs in the loss."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    teacher: str
    """A shipped model's name, a bundle, or the folder of a run."""
    weight: float = Field(gt=0, le=1)
    """What the teacher's answers weigh; labels and votes weigh the rest."""
    temperature: float = Field(default=1.0, gt=0)
    """Both sides' logits are divided by it before they are compared."""
    views: int = Field(default=8, ge=1)
    """Epochs of augmented views that are drawn; later epochs reuse them, so that the teacher runs on each once."""


@dataclass(frozen=True)
class Teacher:
    """A trained network with fixed weights.

    Attributes:
        network: maps (B, 1, 48, 48) to each head's logits.
        card: its bundle's settings.
        sha256: of its bundle's file.
        how: weight, temperature and views.
        answers: its calibrated logits (B, classes) a head, float16, by the batch's key.
    """

    network: Network
    card: Card
    sha256: str
    how: Distillation
    answers: dict[Hashable, dict[str, Tensor]] = field(default_factory=dict)

    @classmethod
    def load(cls, how: Distillation, preprocessing: Preprocessing, labels: tuple[str, ...]) -> Teacher:
        """Read the teacher's bundle.

        Raises:
            ModelError: where it cannot be read.
            RecipeError: where its input or its classes differ from the student's.
        """
        bundle = load_bundle(how.teacher)
        if bundle.card.preprocessing != preprocessing:
            raise RecipeError("the teacher takes other input than the recipe's preprocessing makes", how.teacher)
        if bundle.card.labels != labels:
            raise RecipeError(f"the teacher's classes are {', '.join(bundle.card.labels)}", how.teacher)
        return cls(load_network(bundle), bundle.card, bundle.sha256, how)

    def loss(self, every: dict[Head, Tensor], batch: Batch) -> Tensor:
        """Cross-entropy with the teacher's answers, averaged over the batch and added up over the heads both have.

        Multiplied by the temperature's square, so that its gradients keep their size.

        Args:
            every: the student's logits, float (B, classes) a head.
            batch: what the student saw.
        """
        warmth = self.how.temperature
        answers = self.logits(batch)
        losses = [
            -(F.softmax(answers[head] / warmth, 1) * F.log_softmax(logits / warmth, 1)).sum(1).mean()
            for head, logits in every.items()
            if head in answers
        ]
        return warmth**2 * torch.stack(losses).sum()

    def logits(self, batch: Batch) -> dict[str, Tensor]:
        """Its calibrated logits of a batch, float (B, classes) a head, from memory where the batch's key is known."""
        device = batch.images.device
        answers = self.answers.get(batch.key) if batch.key is not None else None
        if answers is None:
            with torch.no_grad():
                found = self.network.to(device).every(batch.images)
            calibration = self.card.calibration
            answers = {str(head): (logits / calibration.of(head)).half().cpu() for head, logits in found.items()}
            if batch.key is not None:
                self.answers[batch.key] = answers
        return {head: logits.to(device).float() for head, logits in answers.items()}
