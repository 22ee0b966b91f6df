"""ASGI middleware around every route: request id, size limit, headers, counts and one line of log."""

from __future__ import annotations

import logging
import re
import time
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.serving.api.logs import LOGGER
from mien.serving.api.metrics import Metrics
from mien.serving.api.problems import Problem

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
_API_PATHS = ("/v1/", "/healthz", "/readyz", "/metrics")  # how they begin; all other paths are the page's
_ROUTES = ("/v1/predict", "/v1/models", "/v1/openapi.json", "/healthz", "/readyz", "/metrics")
_METHODS = ("GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE")

_log = logging.getLogger(LOGGER)


class Middleware:
    """ASGI middleware.

    Args:
        app: the application.
        metrics: where requests are counted.
        body_bytes: the largest body.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, body_bytes: int) -> None:
        self.app, self.metrics, self.body_bytes = app, metrics, body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request = _Request(scope, receive, send, self.body_bytes)
        failure: Exception | None = None
        try:
            request.check_length()
            await self.app(scope, request.receive, request.send)
        except Problem as problem:
            await request.refuse(problem)
        except ClientDisconnect:
            request.status = _CLOSED
        except Exception as error:  # whatever it is, the client gets an answer, and the log the traceback
            failure = error
            await request.refuse(Problem("internal", "This is a fault of the service; the request id finds its log."))
        self._record(scope, request, failure)

    def _record(self, scope: Scope, request: _Request, failure: Exception | None) -> None:
        seconds = time.perf_counter() - request.start
        status, state = request.status or _CLOSED, scope["state"]
        # A client may invent paths and methods without end; the labels of a metric must be few.
        path = scope["path"] if scope["path"] in _ROUTES else ("page" if scope.get("endpoint") else "other")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self.metrics.requests.labels(path, method, str(status)).inc()
        self.metrics.seconds.labels(path).observe(seconds)
        if "problem" in state:
            self.metrics.problems.labels(state["problem"]).inc()
        fields = {
            "request_id": state["request_id"],
            "client": scope["client"][0] if scope.get("client") else None,
            "method": scope["method"][:32],
            "path": scope["path"][:256],
            "status": status,
            "milliseconds": round(1000 * seconds, 1),
        } | {name: state[name] for name in ("owner", "model", "images", "faces", "problem") if name in state}
        _log.log(logging.ERROR if failure else logging.INFO, "request", exc_info=failure, extra={"fields": fields})


class _Request:
    """One request: its channels, with the size limit and the headers of all answers."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, body_bytes: int) -> None:
        self.start = time.perf_counter()
        self.status: int | None = None
        self._scope, self._receive, self._send, self._limit = scope, receive, send, body_bytes
        self._size, self._headers = 0, Headers(scope=scope)
        own = self._headers.get("x-request-id", "")
        self.id = own if _ID.fullmatch(own) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = self.id

    def check_length(self) -> None:
        """Refuse a body by its announced size, before any of it is read."""
        length = self._headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length[:20]) > self._limit:
            raise self._too_large()

    async def receive(self) -> Message:
        """A message from the client; a body without an announced size is refused once it is too large."""
        message = await self._receive()
        self._size += len(message.get("body", b""))
        if self._size > self._limit and self.status is None:
            raise self._too_large()
        return message

    async def send(self, message: Message) -> None:
        """Send a message to the client."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            is_api = self._scope["path"].startswith(_API_PATHS)
            headers.update(_HEADERS | {"X-Request-ID": self.id})
            headers["Content-Security-Policy"] = _API_POLICY if is_api else _PAGE_POLICY
            if is_api:
                headers["Cache-Control"] = "no-store"
        await self._send(message)

    async def refuse(self, problem: Problem) -> None:
        """Answer with a problem, unless an answer has begun."""
        self._scope["state"]["problem"] = problem.kind
        if self.status is None:
            await problem.response(self.id)(self._scope, self.receive, self.send)

    def _too_large(self) -> Problem:
        detail = f"A body has at most {self._limit:,} bytes here. Send fewer or smaller images."
        return Problem("body-too-large", detail, {"Connection": "close"})
