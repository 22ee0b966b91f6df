"""A running service for tests: the real server, in a thread, on a free port of this machine."""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Thread

import numpy as np
import uvicorn
from fastapi import FastAPI
from numpy.typing import NDArray
from PIL import Image

from mien.serving.server import listen, uvicorn_config
from mien.serving.settings import Settings


@contextmanager
def running(app: FastAPI, settings: Settings | None = None) -> Iterator[str]:
    """Serve an application; gives its address."""
    listener = listen("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    server = uvicorn.Server(uvicorn_config(app, settings or Settings(), log_config=None))
    thread = Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert thread.is_alive(), "the service did not start"
        assert time.monotonic() < deadline, "the service did not start in time"
        time.sleep(0.01)
    try:
        yield url
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive(), "the service did not stop"


def encoded(pixels: NDArray[np.uint8], form: str = "PNG") -> bytes:
    """An image as a file's bytes."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def connected(url: str, seconds: float = 30) -> socket.socket:
    """A bare connection to a service."""
    host, _, port = url.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=seconds)


def rest_of(connection: socket.socket) -> bytes:
    """All bytes that arrive until the other side closes."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def exchanged(url: str, *pieces: bytes) -> bytes:
    """Send pieces on a bare connection; what comes back until it is closed."""
    with connected(url) as connection:
        for piece in pieces:
            connection.sendall(piece)
        return rest_of(connection)
