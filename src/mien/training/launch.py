"""Start a training in several processes, here or on several hosts, and report errors in one line.

The processes are watched by PyTorch's elastic agent (what torchrun runs): where one dies the others on its host are
stopped, and those on other hosts lose contact and end by themselves (:data:`mien.training.ddp.PATIENCE`).
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mien.errors import ParallelError, RecipeError
from mien.training.ddp import CLAIM, MEND

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig

PORT = 29400


@dataclass(frozen=True)
class Hosts:
    """Which processes to start.

    Attributes:
        devices: processes on each host: GPUs, or parts of the CPU.
        nodes: hosts, each of which runs the same command with its own ``rank``.
        rank: this host, from 0.
        master: ``host:port`` of host 0, as all hosts reach it.
    """

    devices: int = 1
    nodes: int = 1
    rank: int = 0
    master: str | None = None

    def __post_init__(self) -> None:
        if not (0 <= self.rank < self.nodes):
            raise RecipeError(f"host {self.rank} of {self.nodes}", "--node-rank", f"Give 0 to {self.nodes - 1}.")
        if self.nodes > 1 and not self.master:
            raise RecipeError("the hosts need to find each other", "--master", "Give HOST:PORT of host 0.")

    @property
    def many(self) -> bool:
        """Whether there is anything to start beside this process."""
        return self.devices * self.nodes > 1

    @property
    def address(self) -> tuple[str, int]:
        """Host 0 and its port.

        Raises:
            RecipeError: where the port is no number.
        """
        host, _, port = (self.master or "127.0.0.1:0").partition(":")
        if port and not port.isdigit():
            raise RecipeError(f"no port: {port!r}", "--master", "Give HOST:PORT.")
        return host, int(port or PORT)


def launch(command: Sequence[str], hosts: Hosts) -> int:
    """Run a command in all of this host's processes and wait for them.

    Args:
        command: the arguments after the interpreter, such as ``["-m", "mien", "train", ...]``.
        hosts: how many processes, and where.

    Returns:
        the exit code: that of the first process that failed, or 0.

    Raises:
        ParallelError: where a process was killed, or the hosts did not find each other.
        SystemExit: after Ctrl-C or another signal, once all processes have ended; where none of them has reported it,
            what the caller's own handler of the signal raises, such as KeyboardInterrupt.
    """
    os.environ.setdefault("LOGLEVEL", "CRITICAL")  # read as the agent's modules are imported
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import elastic_launch

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with tempfile.TemporaryDirectory() as folder:
        reported = Path(folder) / "reported"
        os.environ[CLAIM] = str(reported)
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // hosts.devices)))
        try:
            elastic_launch(_config(hosts), sys.executable)(*command)
        except ChildFailedError as error:
            return _first_failure(error)
        except SignalException as error:
            for number, handler in before.items():  # the agent leaves its own in place
                signal.signal(number, handler)
            if error.sigval in before and not reported.exists():
                signal.raise_signal(error.sigval)
            raise SystemExit(128 + error.sigval) from error
        except (RuntimeError, ConnectionError, TimeoutError) as error:
            raise ParallelError(f"the hosts did not find each other ({type(error).__name__})", hosts.master) from error
        finally:
            del os.environ[CLAIM]
    return 0


def _config(hosts: Hosts) -> LaunchConfig:
    from torch.distributed.launcher.api import LaunchConfig

    host, port = hosts.address
    if hosts.nodes == 1:
        meeting = {"rdzv_backend": "c10d", "rdzv_endpoint": "127.0.0.1:0", "local_addr": "127.0.0.1"}
    else:
        meeting = {"rdzv_backend": "static", "rdzv_endpoint": f"{host}:{port}"}
        device = _interface(host)
        if device:
            os.environ.setdefault("GLOO_SOCKET_IFNAME", device)
    return LaunchConfig(
        min_nodes=hosts.nodes,
        max_nodes=hosts.nodes,
        nproc_per_node=hosts.devices,
        run_id="mien",
        rdzv_configs={"rank": hosts.rank, "timeout": 300} if hosts.nodes > 1 else {},
        max_restarts=0,
        **meeting,  # type: ignore[arg-type]
    )


def _first_failure(error: ChildFailedError) -> int:
    """The exit code of the process that failed first; it has reported why, unless a signal ended it."""
    rank, failure = error.get_first_failure()
    if failure.exitcode < 0:
        name = signal.Signals(-failure.exitcode).name
        raise ParallelError(f"process {rank} was ended by {name}; the others on this host were stopped", mend=MEND)
    return int(failure.exitcode)


def _interface(host: str) -> str | None:
    """The network interface by which a host is reached; gloo would take the one that this host's name resolves to."""
    if sys.platform != "linux":
        return None
    import fcntl
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((host, 9))
        mine = probe.getsockname()[0]
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode()[:15])
            try:
                answer = fcntl.ioctl(probe.fileno(), 0x8915, request)  # SIOCGIFADDR
            except OSError:  # it has no address
                continue
            if socket.inet_ntoa(answer[20:24]) == mine:
                return name
    return None
