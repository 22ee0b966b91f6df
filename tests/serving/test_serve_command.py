"""``mien serve`` as a process: how it starts, what it logs, how it stops, and what a lost worker costs."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from mien.models.load import shipped_models
from mien.serving.server import listen
from support.running_service import connected, rest_of

MODEL = shipped_models()[0]
KEY = "alice-key-0123456789"
HEAD = (
    "POST /v1/predict?detector=none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
    "Content-Type: image/png\r\nContent-Length: {}\r\n\r\n"
)
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


@contextmanager
def served(errors: Path, *arguments: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """A service in a process of its own, ready to answer; its stderr goes into a file."""
    command = [sys.executable, "-m", "mien", "serve", "--no-page", "--port", "0", "--model", MODEL, "--threads", "1"]
    with errors.open("wb") as file, subprocess.Popen([*command, *arguments], stderr=file) as process:
        try:
            yield address(errors, process), process
        finally:
            process.terminate()
            process.wait(60)


def address(errors: Path, process: subprocess.Popen[bytes]) -> str:
    """Where it answers, once it does."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None, errors.read_text()
        if found := re.search(r"http://127\.0\.0\.1:\d+", errors.read_text()):
            try:
                if httpx.get(f"{found[0]}/readyz", timeout=5).status_code == 200:
                    return found[0]
            except httpx.TransportError:
                pass
        time.sleep(0.05)
    raise AssertionError(errors.read_text())


def begun(url: str, data: bytes) -> socket.socket:
    """A request whose last byte is still to come."""
    connection = connected(url, 60)
    connection.sendall(HEAD.format(len(data)).encode() + data[:-1])
    return connection


def finished(connection: socket.socket, data: bytes) -> bytes:
    """The answer to a request that was begun; empty where the connection was lost."""
    with connection:
        try:
            connection.sendall(data[-1:])
            return rest_of(connection)
        except (ConnectionResetError, BrokenPipeError):
            return b""


def refuses(url: str) -> None:
    """Wait until nobody accepts connections any more."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            connected(url, 1).close()
        except ConnectionError:
            return
        time.sleep(0.05)
    raise AssertionError("it still accepts connections")


def test_it_stops_in_order_and_logs_no_secret(tmp_path: Path, files: list[bytes]) -> None:
    keys, errors = tmp_path / "keys", tmp_path / "stderr"
    keys.write_text(f"alice {KEY}\n", encoding="utf-8")
    with served(errors, "--api-key-file", str(keys)) as (url, process):
        sent = [("images", ("a secret name.png", files[0]))]
        allowed = {"Authorization": f"Bearer {KEY}", "X-Request-ID": "request-1"}
        answer = httpx.post(f"{url}/v1/predict?detector=none", files=sent, headers=allowed, timeout=60)
        assert answer.status_code == 200
        assert httpx.post(f"{url}/v1/predict", content=files[0], headers={"X-API-Key": "wrong"}).status_code == 401
        head = HEAD.format(len(files[1])).replace("Host", f"X-API-Key: {KEY}\r\nHost")
        with connected(url, 60) as slow:
            slow.sendall(head.encode() + files[1][:-1])
            time.sleep(0.5)  # so that it is in flight
            process.send_signal(signal.SIGTERM)
            refuses(url)
            slow.sendall(files[1][-1:])
            assert rest_of(slow).startswith(b"HTTP/1.1 200 ")
        # uvicorn ends by the signal that it was stopped with, once all is done.
        assert process.wait(60) in (0, -signal.SIGTERM)
    text = errors.read_text()
    assert not any(secret in text for secret in (KEY, "secret name", "wrong"))
    lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    (logged,) = [line for line in lines if line.get("request_id") == "request-1"]
    assert (logged["owner"], logged["path"], logged["status"], logged["faces"]) == ("alice", "/v1/predict", 200, 1)
    assert "Traceback" not in text


@linux
def test_a_killed_worker_loses_only_its_own_requests(tmp_path: Path, files: list[bytes]) -> None:
    errors = tmp_path / "stderr"
    with served(errors, "--workers", "2", "--body-timeout", "300") as (url, process):
        workers = eventually(lambda: listening(children(process.pid), url), 2)
        pending: dict[int, list[socket.socket]] = {worker: [] for worker in workers}
        deadline = time.monotonic() + 60
        while not all(pending.values()) or sum(map(len, pending.values())) < 8:
            assert time.monotonic() < deadline
            connection = begun(url, files[0])
            pending[owner_of(connection, workers)].append(connection)
        killed, other = workers
        os.kill(killed, signal.SIGKILL)
        assert all(finished(one, files[0]).startswith(b"HTTP/1.1 200 ") for one in pending[other])
        assert {finished(one, files[0]) for one in pending[killed]} == {b""}
        eventually(lambda: [one for one in children(process.pid) if rows(port_of(url), one, "0A")], 2)
        for _ in range(4):
            assert httpx.get(f"{url}/readyz", timeout=60).status_code == 200
        counted = httpx.get(f"{url}/metrics", timeout=60).text
        process.terminate()
        assert process.wait(60) == 0
    # The counts of all processes, one of which is gone, together.
    assert re.search(r'mien_requests_total\{method="POST",path="/v1/predict",status="200"\} \d+', counted)


def eventually(found: Callable[[], list[int]], count: int) -> list[int]:
    """What is found, once it is so many."""
    deadline = time.monotonic() + 120
    while len(result := found()) != count:
        assert time.monotonic() < deadline, result
        time.sleep(0.1)
    return result


def children(process: int) -> list[int]:
    """The processes that a process has started."""
    return [int(one) for one in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def listening(processes: list[int], url: str) -> list[int]:
    """Those of the processes whose service has started: they poll the socket that listens."""
    return [one for one in processes if rows(port_of(url), one, "0A") and polled(one)]


def polled(process: int) -> bool:
    """Whether a process has an event loop and threads that detect and classify."""
    try:
        return len(list(Path(f"/proc/{process}/task").iterdir())) >= 4
    except FileNotFoundError:
        return False


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def rows(port: int, process: int, state: str, remote: int | None = None) -> list[str]:
    """The inodes of a process's TCP sockets at a local port, as /proc has them."""
    inodes = set()
    for entry in Path(f"/proc/{process}/fd").glob("*"):
        try:
            inodes.add(str(entry.readlink()))
        except FileNotFoundError:
            continue
    found = []
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        cells = line.split()
        here, there = (int(cell.rpartition(":")[2], 16) for cell in cells[1:3])
        fits = here == port and cells[3] == state and remote in (None, there)
        found += [cells[9]] if fits and f"socket:[{cells[9]}]" in inodes else []
    return found


def owner_of(connection: socket.socket, processes: list[int]) -> int:
    """Which of the processes has accepted a connection."""
    here, there = connection.getsockname()[1], connection.getpeername()[1]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        for process in processes:
            if rows(there, process, "01", here):
                return process
        time.sleep(0.01)
    raise AssertionError("nobody accepted the connection")


def test_what_cannot_be_served_is_refused_before_anything_starts(mien: Callable[..., object], tmp_path: Path) -> None:
    weak = tmp_path / "keys"
    weak.write_text("short\n", encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cases = [
            (["--port", port], "cannot listen here"),
            (["--host", "no.such.host.invalid"], "cannot listen here"),
            (["--model", tmp_path / "none.mien"], "no such model"),
            (["--model", MODEL, "--model", MODEL], f"two models are named {MODEL}"),
            (["--api-key-file", weak], "at least 16"),
            (["--api-key-file", tmp_path / "none"], "cannot be read"),
            (["--detector", "none-such"], "no detector"),
        ]
        for arguments, what in cases:
            ran = mien("serve", "--no-page", *arguments)
            assert ran.code == 2, arguments  # type: ignore[attr-defined]
            assert what in ran.err  # type: ignore[attr-defined]
            assert "Traceback" not in ran.err  # type: ignore[attr-defined]


def test_answers_do_not_wait_for_acknowledgements() -> None:
    """Nagle's algorithm and delayed acknowledgements together cost each answer 40 ms."""
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
