"""Uvicorn's HTTP protocol, with a limit on how long a request's head may take to arrive.

Uvicorn itself waits without limit for the head of a connection's first request, and for the rest of any that has begun.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from mien.serving.api.problems import MEDIA_TYPE, Problem


class TimeoutProtocol(H11Protocol):
    """A connection.

    Args:
        header_seconds: how long a client may take to send a request's head.
        options: uvicorn's.
    """

    def __init__(self, header_seconds: float, **options: Any) -> None:
        super().__init__(**options)
        self._header_seconds = header_seconds
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._set_timer()

    def data_received(self, data: bytes) -> None:
        """Process received bytes; the rest of an incomplete head has a limited time to arrive."""
        super().data_received(data)
        self._set_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP with a problem document, as every other refusal."""
        self._refuse(Problem("bad-request", msg))

    def _set_timer(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:  # the head is complete
            self._stop_timer()
        elif self._timer is None:
            late = Problem("request-timeout", f"The request's head did not arrive within {self._header_seconds:g} s.")
            self._timer = self.loop.call_later(self._header_seconds, self._refuse, late)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, problem: Problem) -> None:
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):  # no answer has begun
            body, status = problem.body(), f"{problem.status} {HTTPStatus(problem.status).phrase}"
            head = f"HTTP/1.1 {status}\r\nContent-Type: {MEDIA_TYPE}\r\nContent-Length: {len(body)}\r\n"
            self.transport.write(f"{head}Connection: close\r\n\r\n".encode() + body)
        self.transport.close()
