"""Hostile requests: each is refused, and other clients get their answers."""

from __future__ import annotations

import struct
import time
import zlib
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as bounded
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from mien.inference import Prediction, Predictor
from mien.serving.api.app import create_app
from mien.serving.settings import Settings
from support.running_service import connected, encoded, exchanged, rest_of, running

PNG = {"Content-Type": "image/png"}
CROP = {"detector": "none"}
HEAD = b"POST /v1/predict?detector=none HTTP/1.1\r\nHost: service\r\nContent-Type: image/png\r\n"


@pytest.fixture(scope="module")
def impatient(predictor: Predictor) -> Iterator[str]:
    """A service with short timeouts."""
    settings = Settings(header_seconds=0.5, body_seconds=0.5, idle_seconds=1, threads=1)
    with running(create_app({"m": predictor}, settings), settings) as url:
        yield url


def fine(url: str, files: list[bytes], alone: list[Prediction]) -> bool:
    """Whether the service still answers, and correctly."""
    answer = httpx.post(f"{url}/v1/predict", content=files[5], params=CROP, headers=PNG, timeout=30)
    sent = answer.json()["images"][0]["faces"][0]["probabilities"]
    return bool(sent == pytest.approx(alone[5].faces[0].probabilities, abs=1e-5))


def test_ten_gigabytes_are_refused_at_their_announcement(url: str, files: list[bytes], alone: list[Prediction]) -> None:
    for length in (b"10000000000", b"9" * 20):
        answer = exchanged(url, HEAD + b"Content-Length: " + length + b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b"urn:mien:problem:body-too-large" in answer
    answer = exchanged(url, HEAD + b"Expect: 100-continue\r\nContent-Length: 10000000000\r\n\r\n")
    assert b"100 Continue" not in answer
    assert fine(url, files, alone)


@pytest.mark.parametrize("start", [b"", b"GET", HEAD, b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /hea"])
def test_a_head_that_does_not_come_is_not_waited_for(
    impatient: str, files: list[bytes], alone: list[Prediction], start: bytes
) -> None:
    with connected(impatient) as slow:
        slow.sendall(start)
        assert fine(impatient, files, alone)
        answer = rest_of(slow)
    assert answer.startswith(b"HTTP/1.1 200 " if start.startswith(b"GET /healthz") else b"HTTP/1.1 408 ")


def test_a_head_that_comes_byte_by_byte_is_not_waited_for(impatient: str) -> None:
    begun = time.monotonic()
    with connected(impatient) as slow:
        slow.settimeout(0.1)
        answer, pieces = b"", iter(HEAD * 10)
        while not answer and time.monotonic() < begun + 20:
            slow.sendall(bytes([next(pieces)]))
            try:
                answer = slow.recv(4096)
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408 ")


def test_many_slow_heads_disturb_nobody(impatient: str, files: list[bytes], alone: list[Prediction]) -> None:
    slow = [connected(impatient) for _ in range(50)]
    for one in slow:
        one.sendall(HEAD)
    assert fine(impatient, files, alone)
    assert all(rest_of(one).startswith(b"HTTP/1.1 408 ") for one in slow)
    for one in slow:
        one.close()


def test_a_body_that_does_not_come_is_not_waited_for(impatient: str) -> None:
    answer = exchanged(impatient, HEAD + b"Content-Length: 100\r\n\r\n", b"abc")
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"urn:mien:problem:request-timeout" in answer


@pytest.mark.parametrize("sent", [b"\x00\xff\r\n\r\n", b"GET / HTTP/1.1\r\nA\r\n\r\n"])
def test_what_is_no_http_is_a_problem_too(url: str, sent: bytes) -> None:
    answer = exchanged(url, sent)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answer


def bomb(side: int) -> bytes:
    """A small PNG file of many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [7_000, 60_000])
def test_decompression_bombs_are_refused_before_they_are_decoded(http: httpx.Client, side: int) -> None:
    answer = http.post("/v1/predict", content=bomb(side), headers=PNG)
    assert answer.status_code == 422
    assert "too many pixels" in answer.json()["detail"]


def test_mutated_uploads(url: str, files: list[bytes], alone: list[Prediction], http: httpx.Client) -> None:
    rng = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(48), np.arange(48)).astype(np.uint8)
    seeds = [files[0], *(encoded(ramp, form) for form in ("JPEG", "GIF", "BMP", "WEBP", "TIFF"))]
    outcomes = set()
    for number in range(90):
        data = bytearray(seeds[number % len(seeds)])
        for place in rng.integers(0, len(data), 1 + number % 8):
            data[place] = rng.integers(256)
        cut = bytes(data if number % 3 else data[: rng.integers(1, len(data))])
        answer = http.post("/v1/predict", content=cut, params=CROP, headers=PNG)
        outcomes.add(answer.status_code)
        assert answer.status_code in (200, 422), answer.text
        form = http.post("/v1/predict", files=[("images", ("a", cut)), ("images", ("b", files[5]))], params=CROP)
        assert form.status_code == 200
        assert (form.json()["images"][0]["error"] is None) == (answer.status_code == 200)
        assert form.json()["images"][1]["error"] is None
    assert outcomes == {200, 422}
    assert fine(url, files, alone)


# This service has no keys, and random bytes are no image, however well they fit the description.
_EXCLUDED = [ignored_auth, positive_data_acceptance]


@pytest.fixture(scope="module")
def described(url: str) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_url(f"{url}/v1/openapi.json")


GOOD, BAD = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
# Nothing can be wrong with a request without parameters, so the other routes have no bad cases.
_CASES = [("POST /v1/predict", BAD)] + [
    (route, GOOD) for route in ("POST /v1/predict", "GET /v1/models", "GET /metrics", "GET /readyz", "GET /healthz")
]


@pytest.mark.parametrize(("route", "mode"), _CASES)
def test_answers_are_as_the_openapi_says(
    described: schemathesis.BaseSchema, route: str, mode: schemathesis.GenerationMode
) -> None:
    """Cases that fit the description, and cases that do not; each route by the same number of them."""
    method, path = route.split()
    operation = described[path][method]
    statuses = []

    @bounded(max_examples=25, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(operation.as_strategy(generation_mode=mode))
    def check(case: schemathesis.Case) -> None:
        statuses.append(case.call_and_validate(excluded_checks=_EXCLUDED).status_code)

    check()
    assert statuses
