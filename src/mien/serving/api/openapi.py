"""The parts of the OpenAPI that no signature implies: bodies, and the problems of each route."""

from __future__ import annotations

from typing import Any

from mien.serving.api.problems import KINDS, MEDIA_TYPE, PREFIX
from mien.serving.api.schemas import ProblemAnswer

_BINARY = {"type": "string", "format": "binary"}
_PARTS = {"images": {"type": "array", "minItems": 1, "items": _BINARY}}
_FORM = {
    "schema": {"type": "object", "required": ["images"], "properties": _PARTS},
    "encoding": {"images": {"contentType": "image/png, image/jpeg, application/octet-stream"}},
}
_KINDS = ("image/png", "image/jpeg", "application/octet-stream")
PREDICT: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "An image file's bytes, or a form whose every part is an image with a file name.",
        "content": {kind: {"schema": _BINARY} for kind in _KINDS} | {"multipart/form-data": _FORM},
    }
}
"""What is added to the description of ``POST /v1/predict``."""

_ALWAYS = ("bad-request", "body-too-large", "internal")
_WITH_KEY = (*_ALWAYS, "unauthorized", "rate-limited", "invalid-parameter")
_BY_ROUTE: dict[str, tuple[str, ...]] = {
    "predict": (
        *_WITH_KEY, "no-image", "unknown-model", "request-timeout", "too-many-images", "unsupported-media-type",
        "unreadable-image", "queue-full", "time-limit",
    ),
    "models": _WITH_KEY,
    "metrics": _WITH_KEY,
    "readyz": (*_ALWAYS, "not-ready"),
}  # fmt: skip


def problems(route: str) -> dict[int | str, dict[str, Any]]:
    """The refusals of a route, for FastAPI's ``responses``: by status, with an example of each kind."""
    found: dict[int | str, dict[str, Any]] = {}
    for kind in _BY_ROUTE[route]:
        status, title = KINDS[kind]
        schema = ProblemAnswer.model_json_schema()
        one = found.setdefault(status, {"description": "", "content": {MEDIA_TYPE: {"schema": schema}}})
        one["description"] = f"{one['description']}; {title}".lstrip("; ")
        value = {"type": PREFIX + kind, "title": title, "status": status, "detail": f"{title}.", "request_id": "0a1b"}
        one["content"][MEDIA_TYPE].setdefault("examples", {})[kind] = {"value": value}
    if route == "metrics":
        found[200] = {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "The counts."}
    return found
