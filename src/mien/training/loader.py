"""Batches of faces: the whole data set lies on the device; order and augmentation follow from seed and epoch alone."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from mien.data.faces import Faces
from mien.errors import DataError
from mien.models.preprocessing import Preprocessing
from mien.training.augmentation import Augment, Part, alter
from mien.training.ddp import ALONE, World


class Batch(NamedTuple):
    """A training batch: ``images`` float (B, 1, 48, 48), ``labels`` int64 (B,), ``shares`` float (B, classes).

    ``shares`` is the part of the crowd's votes that each class got; None where the votes play no part. Batches with the
    same ``key`` hold the same views of the same faces; None where that is not known. ``weight`` is what the batch's
    mean loss counts beside those of the other processes: the mean of the weighted losses is that of all faces.
    """

    images: Tensor
    labels: Tensor
    shares: Tensor | None = None
    key: Hashable | None = None
    weight: float = 1.0


@dataclass(frozen=True)
class DeviceFaces:
    """A labelled set as tensors: ``images`` uint8 (N, 1, 48, 48), ``labels`` int64 (N,), ``shares`` float (N, classes).

    ``shares`` as in :class:`Batch`.
    """

    images: Tensor
    labels: Tensor
    shares: Tensor | None = None

    @classmethod
    def of(cls, faces: Faces, device: torch.device | str = "cpu", votes: bool = False) -> DeviceFaces:
        """A set on the device, with its votes where the recipe needs them; on a processor its pixels are not copied.

        Raises:
            DataError: where a face has no label, or votes are needed and there are none.
        """
        if (faces.emotion < 0).any():
            count = int((faces.emotion < 0).sum())
            raise DataError(f"{count} faces have no label", faces.name, "Train and validate on labelled splits.")
        images = torch.from_numpy(np.require(faces.images, requirements=("C", "W")))[:, None]  # (N, 1, 48, 48)
        shares = torch.from_numpy(faces.vote_shares()).to(device) if votes else None
        return cls(images.to(device), torch.from_numpy(faces.emotion.copy()).to(device), shares)

    def __len__(self) -> int:
        return len(self.labels)

    def part(self, rows: slice | Tensor) -> DeviceFaces:
        """The faces at these rows, in that order."""
        return DeviceFaces(self.images[rows], self.labels[rows], None if self.shares is None else self.shares[rows])


def scale(images: Tensor, how: Preprocessing) -> Tensor:
    """:func:`mien.models.preprocessing.prepare` for tensors: uint8 (B, 1, 48, 48) to float32 (B, 1, 48, 48)."""
    factor, offset = how.factor_offset
    return images.float() * factor + offset


@dataclass(frozen=True)
class TrainingBatches:
    """One epoch of shuffled, augmented batches; the last may be smaller.

    With ``views``, so many epochs of batches are drawn, and every later epoch brings one of them again. In a ``world``
    of several processes ``size`` is that of all their batches together, and each process gets its rows of each.
    """

    faces: DeviceFaces
    size: int
    augment: Augment
    preprocessing: Preprocessing
    seed: int
    epoch: int
    views: int | None = None
    world: World = ALONE

    def __len__(self) -> int:
        return -(-len(self.faces) // self.size)

    def __iter__(self) -> Iterator[Batch]:
        drawn = self.epoch % self.views if self.views else self.epoch
        generator = torch.Generator().manual_seed(mix(self.seed, drawn))
        order = torch.randperm(len(self.faces), generator=generator)
        for step, start in enumerate(range(0, len(order), self.size)):
            whole = order[start : start + self.size]
            mine = self.world.rows(len(whole))
            key = drawn * len(self) + step
            yield self._batch(whole, mine, generator)._replace(
                key=key if self.world == ALONE else (key, self.world.rank, self.world.size),
                weight=self.world.weight(len(whole)),
            )

    def _batch(self, whole: Tensor, mine: slice, generator: torch.Generator) -> Batch:
        rows = whole[mine].to(self.faces.labels.device)
        images = self.faces.images[rows].float()  # (B, 1, 48, 48)
        if self.augment != Augment():
            images = alter(images, self.augment, generator, Part(len(whole), mine))
        shares = None if self.faces.shares is None else self.faces.shares[rows]
        return Batch(scale(images, self.preprocessing), self.faces.labels[rows], shares)


@dataclass(frozen=True)
class PlainBatches:
    """A set in its own order, neither shuffled nor augmented; processes of a ``world`` take turns with its faces."""

    faces: DeviceFaces
    size: int
    preprocessing: Preprocessing
    world: World = ALONE

    def __len__(self) -> int:
        return -(-len(self._mine()) // self.size)

    def __iter__(self) -> Iterator[Batch]:
        for rows in torch.split(self._mine(), self.size):
            yield Batch(scale(self.faces.images[rows], self.preprocessing), self.faces.labels[rows])

    def _mine(self) -> Tensor:
        return torch.arange(self.world.rank, len(self.faces), self.world.size, device=self.faces.labels.device)


def mix(seed: int, epoch: int) -> int:
    """One seed from two, so that neighbouring seeds do not share epochs."""
    return (seed * 1_000_003 + epoch * 7_919 + 12_345) % (2**63)
