"""Trials in several processes: this one keeps the book, the others train and tell it of each epoch."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from mien.errors import MienError, ParallelError
from mien.tuning.study import Task
from mien.tuning.trial import Outcome, Setup, run_trial

MEND = "Run the same command with --resume."


def work(connection: Connection, setup: Setup, threads: int) -> None:
    """Run the trials that come, until None comes or whoever sends them is gone."""
    import torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the first one decides
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    torch.set_num_threads(threads)

    def report(epoch: int, accuracy: float) -> bool:
        connection.send((epoch, accuracy))
        return bool(connection.recv())

    with suppress(EOFError, BrokenPipeError):
        while (task := connection.recv()) is not None:
            values, out = task
            try:
                connection.send(run_trial(setup, values, Path(out), report))
            except (MienError, OSError) as error:
                connection.send(error)


def _leave_with_parent() -> None:
    """Were a killed search's processes to train on, they would hold its folders."""
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


class WorkerPool:
    """Processes that run trials side by side.

    Args:
        setup: what all trials share.
        jobs: how many processes; they share the processor's cores.
    """

    def __init__(self, setup: Setup, jobs: int) -> None:
        self.idle: list[Connection] = []
        self.busy: dict[Connection, Task] = {}
        self.processes: dict[Connection, SpawnProcess] = {}
        context, threads = get_context("spawn"), max(1, (os.cpu_count() or 1) // jobs)
        for _ in range(jobs):
            mine, theirs = context.Pipe()
            process = context.Process(target=work, args=(theirs, setup, threads))
            process.start()
            theirs.close()
            self.processes[mine] = process
            self.idle.append(mine)

    def give(self, task: Task) -> None:
        """Let an idle process run a trial."""
        connection = self.idle.pop()
        self.busy[connection] = task
        connection.send((task.values, str(task.out)))

    def hear(self) -> tuple[Connection, Task, Any]:
        """The next message: an epoch with its accuracy, which wants an answer, or an :class:`Outcome`.

        Raises:
            MienError: what a trial raised, or that its process died.
            OSError: what a trial raised.
        """
        connection = wait(list(self.busy))[0]
        assert isinstance(connection, Connection)
        try:
            message = connection.recv()
        except (EOFError, ConnectionResetError) as error:
            raise ParallelError("a process of this search has died", mend=MEND) from error
        if isinstance(message, (MienError, OSError)):
            raise message
        task = self.busy[connection]
        if isinstance(message, Outcome):
            del self.busy[connection]
            self.idle.append(connection)
        return connection, task, message

    def dismiss(self) -> None:
        """End all processes, whatever they are at."""
        for connection, process in self.processes.items():
            process.terminate()
            process.join()
            connection.close()
