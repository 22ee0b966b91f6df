"""HTTP for clients that may be slow or hostile: uvicorn's protocol, with a limit on how long a request's head may take.

Uvicorn waits for the head of a connection's first request, and for the rest of any that has begun, without limit.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from mien.serving.api.problems import MEDIA_TYPE, Problem


class ServiceConfig(uvicorn.Config):
    """Uvicorn's configuration, which carries the limit to every connection, also in other processes.

    Args:
        app: what answers, or a function that makes it (with ``factory=True``).
        header_seconds: how long a client may take to send a request's head.
        options: as uvicorn's.
    """

    def __init__(self, app: Any, header_seconds: float, **options: Any) -> None:
        super().__init__(app, http=TimeoutProtocol, **options)
        self.header_seconds = header_seconds


class TimeoutProtocol(H11Protocol):
    """A connection; patient to a limit."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Take what came; where it ends inside of a head, the rest has a limited time to come."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        else:
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_waiting()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP as the service answers everything that it refuses."""
        self._refuse(Problem("bad-request", msg))

    def _wait(self) -> None:
        if self._timer is None:
            assert isinstance(self.config, ServiceConfig)
            self._timer = self.loop.call_later(self.config.header_seconds, self._too_late)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        answering = self.cycle is not None and not self.cycle.response_complete
        if not (answering or self.transport.is_closing()):
            self._refuse(Problem("request-timeout", "The request's head was not there in time."))

    def _refuse(self, problem: Problem) -> None:
        body = problem.body()
        headers = [
            (b"content-type", MEDIA_TYPE.encode()),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        phrase = HTTPStatus(problem.status).phrase.encode()
        events = [
            h11.Response(status_code=problem.status, headers=headers, reason=phrase),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ]
        try:
            said = [self.conn.send(event) for event in events]
        except h11.LocalProtocolError:  # an answer had begun
            said = []
        self.transport.write(b"".join(part for part in said if part))
        self.transport.close()
