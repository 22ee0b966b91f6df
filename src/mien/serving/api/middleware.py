"""What every request passes through, whatever answers it: request id, size, headers, counts and one line of log."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.serving.api.logs import LOGGER
from mien.serving.api.metrics import Metrics
from mien.serving.api.problems import Problem
from mien.serving.api.uploads import too_large

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_CLOSED = 499  # as nginx counts them: the client left before the answer
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "SAMEORIGIN",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}
_API_POLICY = "default-src 'none'; frame-ancestors 'none'"
# Gradio's pages need inline scripts and eval; nothing is loaded from, or sent to, elsewhere.
_PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; media-src 'self' data: blob:; font-src 'self' data:; "
    "connect-src 'self' data: blob:; worker-src 'self' blob:; frame-src 'self' data: blob:; frame-ancestors 'self'"
)
OURS = ("/v1/", "/healthz", "/readyz", "/metrics")
"""How the paths of the service itself begin; all others are the page's."""

_log = logging.getLogger(LOGGER)


class Middleware:
    """ASGI middleware.

    Args:
        app: what answers.
        metrics: where requests are counted.
        body_bytes: the largest body.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, body_bytes: int) -> None:
        self.app, self.metrics, self.body_bytes = app, metrics, body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through, or answer it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        passage = _RequestGuard(scope, receive, send, self.body_bytes)
        failure: Exception | None = None
        try:
            passage.check()
            await self.app(scope, passage.receive, passage.send)
        except Problem as problem:
            await passage.refuse(problem)
        except ClientDisconnect:
            passage.status = _CLOSED
        except Exception as error:  # whatever it is, the client gets an answer, and the log the traceback
            failure = error
            await passage.refuse(Problem("internal", "This is a fault of the service; the request id finds its log."))
        self._count(scope, passage, failure)

    def _count(self, scope: Scope, passage: _RequestGuard, failure: Exception | None) -> None:
        seconds = time.perf_counter() - passage.start
        path, status = _route(scope), passage.status or _CLOSED
        self.metrics.requests.labels(path, _method(scope), str(status)).inc()
        self.metrics.seconds.labels(path).observe(seconds)
        said: MutableMapping[str, Any] = scope["state"]
        if "problem" in said:
            self.metrics.problems.labels(said["problem"]).inc()
        client = scope.get("client")
        fields = {
            "request_id": passage.id,
            "client": client[0] if client else None,
            "method": scope["method"][:32],
            "path": scope["path"][:256],
            "status": status,
            "milliseconds": round(1000 * seconds, 1),
        } | {name: said[name] for name in ("owner", "model", "images", "faces", "problem") if name in said}
        _log.log(logging.ERROR if failure else logging.INFO, "request", exc_info=failure, extra={"fields": fields})


class _RequestGuard:
    """One request on its way."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, body_bytes: int) -> None:
        self.start = time.perf_counter()
        self.status: int | None = None
        self._scope, self._receive, self._send, self._limit = scope, receive, send, body_bytes
        self._size = 0
        self._asked = Headers(scope=scope)
        told = self._asked.get("x-request-id", "")
        self.id = told if _ID.fullmatch(told) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = self.id

    def check(self) -> None:
        """Refuse a body by its announced size, before any of it is read."""
        length = self._asked.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length[:20]) > self._limit:
            raise too_large(self._limit)

    async def receive(self) -> Message:
        """A message from the client; a body that says nothing of its size is refused once it is too large."""
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > self._limit and self.status is None:
            raise too_large(self._limit)
        return message

    async def send(self, message: Message) -> None:
        """A message to the client, with the headers that all answers have."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            ours = self._scope["path"].startswith(OURS)
            policy = _API_POLICY if ours else _PAGE_POLICY
            for name, value in (_HEADERS | {"X-Request-ID": self.id, "Content-Security-Policy": policy}).items():
                headers[name] = value
            if ours:
                headers["Cache-Control"] = "no-store"
        await self._send(message)

    async def refuse(self, problem: Problem) -> None:
        """Answer with a problem, unless an answer has begun."""
        self._scope["state"]["problem"] = problem.kind
        if self.status is None:
            await problem.response(self.id)(self._scope, self.receive, self.send)


def _route(scope: Scope) -> str:
    """The path that is counted: few, however many a client invents."""
    return scope["path"] if scope["path"] in ROUTES else ("page" if scope.get("endpoint") else "other")


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in ("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE") else "other"


ROUTES = ("/v1/predict", "/v1/models", "/v1/openapi.json", "/healthz", "/readyz", "/metrics")
"""The service's own paths."""
