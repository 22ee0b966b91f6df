"""Two hosts, as two network namespaces of this machine with a cable between them, which is cut while they train."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from conftest import write_recipe

# Names of this run: a killed run leaves its namespaces behind.
NAMES = tuple(f"mien-{letter}-{os.getpid()}" for letter in "ab")
PHASES = [{"name": "all", "train": "all", "epochs": 400, "optimizer": {"name": "adam", "lr": 0.001}}]


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


@pytest.fixture
def cable() -> Iterator[None]:
    """10.77.0.1 and 10.77.0.2, each in a namespace of its own."""
    if shutil.which("ip") is None or os.geteuid() != 0:
        pytest.skip("network namespaces need root and iproute2")
    try:
        for name in NAMES:
            added = subprocess.run(["ip", "netns", "add", name], check=False, capture_output=True, text=True)
            if added.returncode:
                pytest.skip(f"this machine forbids network namespaces: {added.stderr.strip()}")
        ip("link", "add", "mien-0", "netns", NAMES[0], "type", "veth", "peer", "name", "mien-1", "netns", NAMES[1])
        for number, name in enumerate(NAMES):
            ip("-n", name, "addr", "add", f"10.77.0.{number + 1}/24", "dev", f"mien-{number}")
            ip("-n", name, "link", "set", f"mien-{number}", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield
    finally:
        for name in NAMES:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)


def host(number: int, recipe: Path, data: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    command = ["ip", "netns", "exec", NAMES[number], sys.executable, "-m", "mien", "train", str(recipe)]
    command += ["--data", str(data), "--out", str(out), "--device", "cpu", "--seed", "1", *options]
    command += ["--nodes", "2", "--node-rank", str(number), "--master", "10.77.0.1:29411"]
    settings = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=settings)


def epochs(out: Path) -> int:
    path = out / "history.csv"
    return len(path.read_text().splitlines()) - 1 if path.exists() else 0


def wait_for(epoch: int, out: Path, hosts: list[subprocess.Popen[str]]) -> None:
    while epochs(out) < epoch:
        assert all(one.poll() is None for one in hosts), [one.communicate() for one in hosts]
        time.sleep(0.2)


def test_a_cut_cable_ends_both_hosts_and_they_go_on(cable: None, drawn_csv: Path, tmp_path: Path) -> None:
    recipe, out = write_recipe(tmp_path / "long.yaml", phases=PHASES), tmp_path / "run"
    hosts = [host(number, recipe, drawn_csv, out) for number in (0, 1)]
    wait_for(2, out, hosts)
    ip("-n", NAMES[1], "link", "set", "mien-1", "down")
    start = time.monotonic()
    for one in hosts:
        _, told = one.communicate(timeout=150)
        assert one.returncode == 3, told
        assert told.count("error: ") == 1
        assert "lost contact with another process of this training. Go on with --resume" in told
    assert time.monotonic() - start < 75
    done = epochs(out)
    ip("-n", NAMES[1], "link", "set", "mien-1", "up")
    hosts = [host(number, recipe, drawn_csv, out, "--resume") for number in (0, 1)]
    wait_for(done + 1, out, hosts)
    for one in hosts:
        one.terminate()
    for one in hosts:
        one.communicate(timeout=60)
