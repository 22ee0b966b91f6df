"""Training in several processes: which of them this is, and what it does of each batch."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from mien.errors import ParallelError
from mien.models.networks.batch_norm import grouped

PATIENCE = 40.0
"""Seconds that a process waits for another in any exchange: a dead one ends the run within a minute."""

CLAIM = "MIEN_TOLD"
"""The environment variable of a file; the first process that creates it reports the error that all of them met."""

MEND = "Go on with --resume, also with another number of processes."


@dataclass(frozen=True)
class World:
    """The processes that train together.

    Attributes:
        rank: this process, from 0.
        size: how many there are.
        local: how many there are on this host.
    """

    rank: int
    size: int
    local: int = 1

    @classmethod
    def here(cls) -> World:
        """This process's place in the group, by the environment variables of torchrun; ALONE without them."""
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            return ALONE
        return cls(*(int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")))

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and reports."""
        return self.rank == 0

    def rows(self, whole: int) -> slice:
        """This process's rows of a batch of ``whole`` faces: one at least, also where there are more processes."""
        start, stop = self._bounds(whole)
        return slice(start, stop) if stop > start else slice(0, 1)

    def weight(self, whole: int) -> float:
        """What these rows' mean loss counts in the mean over the processes; 0 where none is this process's own."""
        start, stop = self._bounds(whole)
        return self.size * (stop - start) / whole

    def trainer(self, device: str) -> dict[str, Any]:
        """Lightning's settings for these processes; gloo joins them on CPUs, NCCL on GPUs."""
        if self.size == 1:
            return {"devices": 1}
        from lightning.pytorch.strategies import DDPStrategy

        backend = "nccl" if device == "cuda" else "gloo"
        # Buffers are batch norm's statistics, which every process has computed alike.
        patience = timedelta(seconds=PATIENCE)
        strategy = DDPStrategy(process_group_backend=backend, timeout=patience, broadcast_buffers=False)
        return {"devices": self.local, "num_nodes": self.size // self.local, "strategy": strategy}

    def _bounds(self, whole: int) -> tuple[int, int]:
        return whole * self.rank // self.size, whole * (self.rank + 1) // self.size


ALONE = World(0, 1)

LOST = (
    "gloo",
    "nccl",
    "connection closed",
    "connection reset",
    "broken pipe",
    "timed out",
    "timeout caused pair closure",
    "socket",
    "no route to host",
    "network is unreachable",
)
"""Parts of PyTorch's messages, in lower case, where communication with another process failed."""


@contextmanager
def process_group() -> Iterator[None]:
    """Turn PyTorch's error about an exchange that failed into ours.

    Raises:
        ParallelError: where another process is gone.
    """
    try:
        yield
    except RuntimeError as error:
        if not (grouped() and _exchange_failed(error)):
            raise
        time.sleep(2)  # where the other one died on this host, the launcher knows more, and ends this process
        raise ParallelError("lost contact with another process of this training", mend=MEND) from error


def _exchange_failed(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or any(word in str(error).lower() for word in LOST)


def total(*numbers: float) -> tuple[float, ...]:
    """Each number's sum over all processes."""
    if not grouped():
        return numbers
    sums = torch.tensor(numbers, dtype=torch.float64)
    if dist.get_backend() == "nccl":
        sums = sums.cuda()
    dist.all_reduce(sums)
    return tuple(sums.tolist())
