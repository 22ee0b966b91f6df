"""Refusals as RFC 9457's ``application/problem+json``, with types that stay the same from version to version."""

from __future__ import annotations

import json
from collections.abc import Mapping

from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
PREFIX = "urn:mien:problem:"
"""How the ``type`` of every problem begins."""

KINDS: dict[str, tuple[int, str]] = {
    "bad-request": (400, "The request is malformed"),
    "no-image": (400, "The request carries no image"),
    "unauthorized": (401, "A valid key is needed"),
    "not-found": (404, "There is nothing here"),
    "unknown-model": (404, "There is no such model"),
    "method-not-allowed": (405, "This method is not allowed here"),
    "request-timeout": (408, "The request took too long to arrive"),
    "body-too-large": (413, "The body is too large"),
    "too-many-images": (413, "The request carries too many images"),
    "unsupported-media-type": (415, "This kind of body is not accepted"),
    "invalid-parameter": (422, "A parameter is invalid"),
    "unreadable-image": (422, "The image cannot be read"),
    "rate-limited": (429, "Too many requests of one client"),
    "queue-full": (429, "The service is busy"),
    "internal": (500, "The service failed"),
    "not-ready": (503, "The service is not ready"),
    "time-limit": (504, "The answer took too long"),
}
"""Every kind of problem, with its HTTP status and title. Clients may rely on them."""


class Problem(Exception):  # noqa: N818 - the standard's word
    """A refusal.

    Args:
        kind: one of :data:`KINDS`.
        detail: what is wrong with this request, and how to mend it.
        headers: headers of the answer.
    """

    def __init__(self, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(kind, detail)
        self.kind, self.detail, self.headers = kind, detail, dict(headers or {})
        self.status, self.title = KINDS[kind]

    def body(self, request_id: str | None = None) -> bytes:
        """The answer's body."""
        document = {"type": PREFIX + self.kind, "title": self.title, "status": self.status, "detail": self.detail}
        return json.dumps(document | ({"request_id": request_id} if request_id else {})).encode()

    def response(self, request_id: str | None = None) -> Response:
        """The answer."""
        return Response(self.body(request_id), self.status, self.headers, MEDIA_TYPE)
