"""An order that a data set larger than memory can follow: blocks are shuffled, then the faces in windows of blocks.

The faces in memory and those in shards go through the same code here, so that both give the same batches. An epoch's
order, cut into lanes, is

1. the blocks of ``block`` neighbouring faces in random order, one after another;
2. cut into ``lanes`` stretches of equal length;
3. each stretch cut into windows of ``window`` blocks, and the faces within each window in random order.

Every batch takes as many faces from each lane. Processes that train together share the lanes, and none reads what the
others' lanes hold, so the batches are the same however many they are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import NamedTuple, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from mien.data.faces import join
from mien.data.shards.reader import ShardSplit
from mien.models.preprocessing import Preprocessing
from mien.training.augmentation import Augment, Part, alter
from mien.training.ddp import ALONE, World
from mien.training.loader import Batch, DeviceFaces, mix, scale


class Blocks(BaseModel):
    """How far apart faces may lie that share a batch: more blocks in a window mix better and take more memory.

    At any time ``2 * lanes * window * block`` faces are in memory, half of them ahead of their use: 75 MB as it is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    block: int = Field(default=256, ge=1)
    """Neighbouring faces that are read together; that of the shards, where the data are streamed."""
    lanes: int = Field(default=8, ge=1)
    """The batch size must be a multiple, and no more processes can train together."""
    window: int = Field(default=8, ge=1)
    """Blocks of a lane whose faces are mixed."""


class Piece(NamedTuple):
    """Faces ``start`` up to ``stop`` of the set, all of one block."""

    start: int
    stop: int


class Source(Protocol):
    """Where faces come from."""

    def __len__(self) -> int: ...

    def fetch(self, pieces: Sequence[Piece]) -> DeviceFaces:
        """The faces of the pieces, one after another."""
        ...


@dataclass(frozen=True)
class InMemory:
    """Faces on the device."""

    faces: DeviceFaces

    def __len__(self) -> int:
        return len(self.faces)

    def fetch(self, pieces: Sequence[Piece]) -> DeviceFaces:
        """Copy them together."""
        return joined([self.faces.part(slice(*piece)) for piece in pieces])


@dataclass(frozen=True)
class Streamed:
    """Faces in shards.

    Attributes:
        split: where they are; read by one thread at a time.
        device: where they go.
        votes: whether the FER+ votes are needed.
    """

    split: ShardSplit
    device: str = "cpu"
    votes: bool = False

    def __len__(self) -> int:
        return len(self.split)

    def fetch(self, pieces: Sequence[Piece]) -> DeviceFaces:
        """Read them.

        Raises:
            DataError: where a shard is damaged.
        """
        parts = []
        for start, stop in pieces:
            number = start // self.split.block
            first = number * self.split.block
            block = self.split.read(number)
            parts.append(block.take(slice(start - first, stop - first)))
        return DeviceFaces.of(join(parts, self.split.name), self.device, self.votes)


def joined(parts: Sequence[DeviceFaces]) -> DeviceFaces:
    """Sets one after another, as one."""
    if len(parts) == 1:
        return parts[0]
    shares = [part.shares for part in parts if part.shares is not None]
    images, labels = (torch.cat([getattr(part, name) for part in parts]) for name in ("images", "labels"))
    return DeviceFaces(images, labels, torch.cat(shares) if shares else None)


@dataclass(frozen=True)
class EpochOrder:
    """The order of an epoch of ``faces`` faces, which follows from ``seed``; nothing grows but 16 bytes a block."""

    how: Blocks
    faces: int
    seed: int

    def bounds(self, lane: int) -> tuple[int, int]:
        """Which positions of the epoch a lane holds."""
        return self.faces * lane // self.how.lanes, self.faces * (lane + 1) // self.how.lanes

    def rows(self, lane: int) -> int:
        """How many faces a lane holds; one more or less than another."""
        start, stop = self.bounds(lane)
        return stop - start

    def windows(self, lane: int) -> Iterator[tuple[list[Piece], Tensor]]:
        """What a lane reads at a time, and the order int64 (n,) of the n faces of these pieces."""
        pieces, number = self._pieces(lane), 0
        while window := list(islice(pieces, self.how.window)):
            generator = torch.Generator().manual_seed(mix(mix(self.seed, lane + 1), number))
            yield window, torch.randperm(sum(stop - start for start, stop in window), generator=generator)
            number += 1

    def _pieces(self, lane: int) -> Iterator[Piece]:
        start, stop = self.bounds(lane)
        place = int(torch.searchsorted(self._ends, start, right=True))
        while start < stop:
            end, block = int(self._ends[place]), int(self._blocks[place])
            first = block * self.how.block + start - (end - self._size(block))
            yield Piece(first, first + min(end, stop) - start)
            start, place = end, place + 1

    def _size(self, block: int) -> int:
        return min(self.how.block, self.faces - block * self.how.block)

    @cached_property
    def _blocks(self) -> Tensor:
        generator = torch.Generator().manual_seed(mix(self.seed, 0))
        return torch.randperm(-(-self.faces // self.how.block), generator=generator)

    @cached_property
    def _ends(self) -> Tensor:
        """Where each block of the shuffled ones ends."""
        sizes = torch.full((len(self._blocks),), self.how.block)
        sizes[self._blocks == len(self._blocks) - 1] = self._size(len(self._blocks) - 1)
        return sizes.cumsum(0)


class _Lane:
    """One lane's faces, in order; the next window is read while the present one is in use."""

    def __init__(self, source: Source, windows: Iterator[tuple[list[Piece], Tensor]], pool: ThreadPoolExecutor) -> None:
        self._source, self._windows, self._pool = source, windows, pool
        self._coming: deque[Future[DeviceFaces]] = deque()
        self._window: DeviceFaces | None = None
        self._place = 0
        self._ask()

    def take(self, count: int) -> DeviceFaces | None:
        """The next ``count`` faces; None for none."""
        parts = []
        while count:
            if self._window is None or self._place == len(self._window):
                self._window, self._place = self._next(), 0
            stop = min(self._place + count, len(self._window))
            parts.append(self._window.part(slice(self._place, stop)))
            count -= stop - self._place
            self._place = stop
        return joined(parts) if parts else None

    def _next(self) -> DeviceFaces:
        window = self._coming.popleft().result()
        self._ask()
        return window

    def _ask(self) -> None:
        for pieces, order in islice(self._windows, 1):
            self._coming.append(self._pool.submit(self._load, pieces, order))

    def _load(self, pieces: list[Piece], order: Tensor) -> DeviceFaces:
        return self._source.fetch(pieces).part(order)


@dataclass(frozen=True)
class BlockBatches:
    """One epoch of augmented batches in the order of :class:`Blocks`; the last may be smaller.

    As :class:`mien.training.loader.TrainingBatches`, but for the order and for the augmentation's random numbers. With
    ``keys`` the batches have keys, so that a teacher's outputs are kept, 28 bytes a face and view.
    """

    source: Source
    size: int
    augment: Augment
    preprocessing: Preprocessing
    seed: int
    epoch: int
    how: Blocks
    views: int | None = None
    world: World = ALONE
    keys: bool = True

    def __len__(self) -> int:
        return -(-len(self.source) // self.size)

    def __iter__(self) -> Iterator[Batch]:
        drawn = self.epoch % self.views if self.views else self.epoch
        seed = mix(self.seed, drawn)
        generator = torch.Generator().manual_seed(seed)
        order = EpochOrder(self.how, len(self.source), seed)
        pool = ThreadPoolExecutor(1)
        try:
            lanes = [_Lane(self.source, order.windows(lane), pool) for lane in self._mine()]
            faces: DeviceFaces | None = None
            for step in range(len(self)):
                counts = self._counts(order, step)
                faces = self._take(lanes, counts, faces)
                key = (drawn * len(self) + step, self.world.rank, self.world.size) if self.keys else None
                yield self._batch(faces, counts, generator)._replace(key=key)
        finally:
            pool.shutdown(cancel_futures=True)

    def _mine(self) -> range:
        lanes, rank, size = self.how.lanes, self.world.rank, self.world.size
        return range(lanes * rank // size, lanes * (rank + 1) // size)

    def _counts(self, order: EpochOrder, step: int) -> list[int]:
        """How many faces of a step each lane gives: the same number, but in the last step."""
        each = self.size // self.how.lanes
        return [min(each, order.rows(lane) - step * each) for lane in range(self.how.lanes)]

    def _take(self, lanes: list[_Lane], counts: list[int], before: DeviceFaces | None) -> DeviceFaces:
        """This process's faces of a step; one of the step before where it has none, which then weighs nothing."""
        parts = [lane.take(counts[number]) for number, lane in zip(self._mine(), lanes, strict=True)]
        own = [part for part in parts if part is not None]
        if own:
            return joined(own)
        assert before is not None
        return before.part(slice(0, 1))

    def _batch(self, faces: DeviceFaces, counts: list[int], generator: torch.Generator) -> Batch:
        mine, whole = self._mine(), sum(counts)
        start, own = sum(counts[: mine.start]), sum(counts[mine.start : mine.stop])
        rows = slice(start, start + own) if own else slice(0, 1)
        images = faces.images.float()  # (B, 1, 48, 48)
        if self.augment != Augment():
            images = alter(images, self.augment, generator, Part(whole, rows))
        weight = self.world.size * own / whole
        return Batch(scale(images, self.preprocessing), faces.labels, faces.shares, weight=weight)
