"""Run a job repeatedly in forked processes and kill them with SIGKILL; each run is reported as a JSON line.

Usage: python kill_jobs.py JOB KILLS SEED FOLDER [ARGUMENT...]

Everything heavy is imported once, before the forks. Every other process is killed after a random time, the ones between
at a random one of the moments when a file is about to take its name, or just has. The next process goes on in the same
folder until one ends before it is killed; then the next folder begins. Each line on stdout is a JSON object:
the folder, and whether the process was killed. After each the caller may inspect the folder, and answers with a line on
stdin. The first folder, ``whole``, is one undisturbed process's; the last process of all is undisturbed, too.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Job = Callable[[Path], object]


def train_job(recipe: str, data: str) -> Job:
    import torch

    from mien.data import load_faces
    from mien.training import load_recipe, train

    torch.set_num_threads(1)
    faces = load_faces(data)
    settings = load_recipe(recipe)
    return lambda out: train(settings, faces, out, seed=1, device="cpu", resume=True, progress=False)


def export_job(model: str, to: str, suffix: str) -> Job:
    from mien.export.exporter import Target, export_model

    if to == Target.TORCHSCRIPT:
        import torch

        import mien.export.torchscript  # noqa: F401

        torch.set_num_threads(1)
    return lambda out: export_model(model, out / f"model{suffix}", to)


def convert_job(data: str, layout: str, name: str) -> Job:
    import pyarrow.parquet  # noqa: F401

    from mien.data import load_faces
    from mien.data.writers import convert_faces

    faces = load_faces(data)

    def work(out: Path) -> None:
        if layout != "folder" or not (out / name).exists():  # a folder is never written over
            convert_faces(faces, out / name, layout)

    return work


def cache_job(data: str) -> Job:
    from mien.data import load_faces

    def work(out: Path) -> None:
        os.environ["MIEN_CACHE"] = str(out)
        load_faces(data)

    return work


JOBS: dict[str, Callable[..., Job]] = {
    "train": train_job, "export": export_job, "convert": convert_job, "cache": cache_job
}  # fmt: skip


def die_at_a_rename(which: int) -> None:
    """Have this process kill itself when its ``which``-th file takes its name: before it (even), or after it (odd)."""
    rename, left = os.replace, which

    def replace(*args: Any, **kwargs: Any) -> None:
        nonlocal left
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        rename(*args, **kwargs)
        if left == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        left -= 2

    os.replace = replace  # type: ignore[assignment]


def child(work: Job, out: Path, rename: int | None) -> None:
    """Do the job and leave at once, whatever becomes of it."""
    try:
        if rename is not None:
            die_at_a_rename(rename)
        work(out)
    except BaseException as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        os._exit(1)
    os._exit(0)


def spawn(work: Job, out: Path, rename: int | None = None, seconds: float | None = None) -> bool:
    """Do the job in a process of its own, killed in the one or the other way; whether it was.

    Raises:
        SystemExit: where the job itself failed.
    """
    pid = os.fork()
    if pid == 0:
        child(work, out, rename)
    ends = None if seconds is None else time.monotonic() + seconds
    while ends is not None and time.monotonic() < ends:
        if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
        time.sleep(0.001)
    else:
        if ends is not None:
            os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status not in (0, -signal.SIGKILL):
        sys.exit(f"the job ended with {status}")
    return status == -signal.SIGKILL


def report(folder: Path, killed: bool) -> None:
    """Report whether a process was killed, and wait until the caller has inspected the folder."""
    sys.stdout.write(json.dumps({"folder": str(folder), "killed": killed}) + "\n")
    sys.stdout.flush()
    sys.stdin.readline()


def main() -> None:
    job, kills, seed, root, *arguments = sys.argv[1:]
    work, draw = JOBS[job](*arguments), random.Random(int(seed))
    folders = [Path(root) / str(number) for number in range(10 * int(kills))]
    whole = Path(root) / "whole"
    whole.mkdir()
    start = time.monotonic()
    spawn(work, whole)
    longest, killed, used = 0.5 * (time.monotonic() - start), 0, []
    report(whole, False)
    while killed < int(kills):
        out = folders[len(used)]
        out.mkdir(exist_ok=True)
        if killed % 2:
            died = spawn(work, out, rename=draw.randrange(8 if job == "train" else 2))
        else:
            died = spawn(work, out, seconds=draw.uniform(0, longest))
        killed += died
        if not died:
            used.append(out)
        report(out, died)
    if folders[len(used)].exists():
        spawn(work, folders[len(used)])
        report(folders[len(used)], False)


if __name__ == "__main__":
    main()
