"""Runs that are killed on the way, and what must be the same after they have gone on."""

from __future__ import annotations

import os
import signal
import sys
from itertools import count
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

import numpy as np

from mien.cli import main
from mien.models.bundle import Bundle

if TYPE_CHECKING:
    from torch import Tensor

    from mien.training.loader import Batch

PROCESSES = get_context("forkserver")
PROCESSES.set_forkserver_preload(["mien.evaluation.pipeline", "mien.training.loop"])
"""What they import takes longer than what they do, so one process does it for all of a file's."""


def killed_in_step(step: int, *arguments: object) -> bool:
    """Run ``mien ARGUMENTS`` in a process that kills itself in the training step of the given number, from 1.

    Returns:
        whether it came to that.
    """
    process = PROCESSES.Process(target=_run_until, args=(step, [str(word) for word in arguments]))
    process.start()
    process.join()
    return process.exitcode == -signal.SIGKILL


def _run_until(last: int, arguments: list[str]) -> None:
    from mien.training.module import Classifier

    step, numbers = Classifier.training_step, count(1)

    def killed_in_time(self: Classifier, batch: Batch, batch_idx: int) -> Tensor:
        if next(numbers) == last:
            os.kill(os.getpid(), signal.SIGKILL)
        return step(self, batch, batch_idx)

    Classifier.training_step = killed_in_time  # type: ignore[method-assign]
    sys.argv = ["mien", *arguments]
    main()


def timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The history without its wall times."""
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def same_weights(one: Bundle | None, other: Bundle | None) -> bool:
    assert one is not None
    assert other is not None
    assert one.weights.keys() == other.weights.keys()
    return all(np.array_equal(array, other.weights[name]) for name, array in one.weights.items())
