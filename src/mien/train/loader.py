"""Batches of faces: the whole data set lies on the device; order and augmentation follow from seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from mien.data.faces import Faces
from mien.errors import DataError
from mien.model.preprocess import Preprocessing
from mien.train.augment import Augment, alter


class Batch(NamedTuple):
    """What a step learns from: ``images`` float (B, 1, 48, 48), ``labels`` int64 (B,), ``shares`` float (B, classes).

    ``shares`` is the part of the crowd's votes that each class got; None where the votes play no part. Batches with the
    same ``place`` hold the same views of the same faces; None where that is not known.
    """

    images: Tensor
    labels: Tensor
    shares: Tensor | None = None
    place: int | None = None


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
        """Copy a set to the device, with its votes where these are wanted.

        Raises:
            DataError: where a face has no label, or votes are wanted and there are none.
        """
        if (faces.emotion < 0).any():
            count = int((faces.emotion < 0).sum())
            raise DataError(f"{count} faces have no label", faces.name, "Train and validate on labelled splits.")
        images = torch.from_numpy(faces.images.copy())[:, None]
        shares = torch.from_numpy(faces.vote_shares()).to(device) if votes else None
        return cls(images.to(device), torch.from_numpy(faces.emotion.copy()).to(device), shares)

    def __len__(self) -> int:
        return len(self.labels)


def scale(images: Tensor, how: Preprocessing) -> Tensor:
    """:func:`mien.model.preprocess.prepare` for tensors: uint8 (B, 1, 48, 48) to float32 (B, 1, 48, 48)."""
    factor, offset = how.factor_offset
    return images.float() * factor + offset


@dataclass(frozen=True)
class TrainingBatches:
    """One epoch of shuffled, augmented batches; the last may be smaller.

    With ``views``, so many epochs of batches are drawn, and every later epoch brings one of them again.
    """

    faces: DeviceFaces
    size: int
    augment: Augment
    preprocessing: Preprocessing
    seed: int
    epoch: int
    views: int | None = None

    def __len__(self) -> int:
        return -(-len(self.faces) // self.size)

    def __iter__(self) -> Iterator[Batch]:
        drawn = self.epoch % self.views if self.views else self.epoch
        generator = torch.Generator().manual_seed(_mix(self.seed, drawn))
        order = torch.randperm(len(self.faces), generator=generator)
        for step, start in enumerate(range(0, len(order), self.size)):
            rows = order[start : start + self.size].to(self.faces.labels.device)
            images = self.faces.images[rows].float()  # (B, 1, 48, 48)
            if self.augment != Augment():
                images = alter(images, self.augment, generator)
            shares = None if self.faces.shares is None else self.faces.shares[rows]
            place = drawn * len(self) + step
            yield Batch(scale(images, self.preprocessing), self.faces.labels[rows], shares, place)


@dataclass(frozen=True)
class PlainBatches:
    """A set in its own order, neither shuffled nor augmented."""

    faces: DeviceFaces
    size: int
    preprocessing: Preprocessing

    def __len__(self) -> int:
        return -(-len(self.faces) // self.size)

    def __iter__(self) -> Iterator[Batch]:
        for start in range(0, len(self.faces), self.size):
            rows = slice(start, start + self.size)
            yield Batch(scale(self.faces.images[rows], self.preprocessing), self.faces.labels[rows])


def _mix(seed: int, epoch: int) -> int:
    """One seed from two, so that neighbouring seeds do not share epochs."""
    return (seed * 1_000_003 + epoch * 7_919 + 12_345) % (2**63)
