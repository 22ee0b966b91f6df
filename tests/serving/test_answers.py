"""What the service answers: the predictor's predictions, each to its own request."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import httpx
import numpy as np
import pytest

from mien.inference import Prediction, Predictor
from mien.serving.api import schemas
from mien.serving.api.app import create_app
from mien.serving.api.problems import KINDS, PREFIX
from mien.serving.settings import Settings
from support.running_service import encoded, running

CROP = {"detector": "none"}
PNG = {"Content-Type": "image/png"}


def same(answer: dict[str, Any], expected: Prediction) -> bool:
    """Whether an answer's one face has the expected probabilities, to what a batch's size changes."""
    (face,), (true,) = answer["faces"], expected.faces
    assert list(face["probabilities"]) == list(true.probabilities)
    return bool(face["probabilities"] == pytest.approx(true.probabilities, abs=1e-5))


def test_one_image_as_the_body(http: httpx.Client, files: list[bytes], alone: list[Prediction]) -> None:
    answer = http.post("/v1/predict", content=files[0], params=CROP, headers=PNG)
    assert answer.status_code == 200
    found = schemas.Answer.model_validate(answer.json(), strict=True)
    assert found.model == "first"
    (image,) = found.images
    assert (image.name, image.width, image.height, image.error) == (None, 48, 48, None)
    assert (image.faces[0].box, image.faces[0].detection) == ([0, 0, 48, 48], None)
    assert image.faces[0].emotion == alone[0].faces[0].emotion
    assert same(answer.json()["images"][0], alone[0])


def test_faces_are_detected(http: httpx.Client, predictor: Predictor, files: list[bytes]) -> None:
    answer = http.post("/v1/predict", content=files[1], headers={"Content-Type": "application/octet-stream"})
    assert len(answer.json()["images"][0]["faces"]) == len(predictor.predict(files[1]).faces)


def test_concurrent_requests_get_their_own_answers(
    http: httpx.Client, files: list[bytes], alone: list[Prediction]
) -> None:
    assert len({str(one.faces[0].probabilities) for one in alone}) == len(files)

    def post(place: int) -> bool:
        answer = http.post("/v1/predict", content=files[place], params=CROP, headers=PNG)
        return same(answer.json()["images"][0], alone[place])

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(post, [place for _ in range(3) for place in range(len(files))]))


def test_files_of_a_form_that_cannot_be_read_do_not_stop_the_others(
    http: httpx.Client, files: list[bytes], alone: list[Prediction]
) -> None:
    names = ["../../etc/passwd", "C:\\temp\\b.png", "c\r\n.png", "…"]
    sent = [("images", (name, data)) for name, data in zip(names, [files[3], b"no image", files[4], b""], strict=True)]
    answer = http.post("/v1/predict", files=sent, params=CROP | {"model": "second"})
    assert answer.status_code == 200
    found = answer.json()
    assert (found["model"], [one["name"] for one in found["images"]][:2]) == ("second", ["passwd", "b.png"])
    assert same(found["images"][0], alone[3])
    assert same(found["images"][2], alone[4])
    assert [one["error"] is None for one in found["images"]] == [True, False, True, False]
    assert found["images"][1]["faces"] == []


def test_below_the_least_confidence_a_face_is_uncertain(http: httpx.Client, files: list[bytes]) -> None:
    params = CROP | {"min_confidence": "1"}
    (face,) = http.post("/v1/predict", content=files[0], params=params, headers=PNG).json()["images"][0]["faces"]
    assert face["emotion"] == "uncertain"
    assert face["confidence"] == max(face["probabilities"].values()) < 1


def test_the_models(http: httpx.Client, predictor: Predictor) -> None:
    found = schemas.ModelsAnswer.model_validate(http.get("/v1/models").json(), strict=True).models
    assert [(one.name, one.default) for one in found] == [("first", True), ("second", False)]
    for one in found:
        assert (one.labels, one.sha256) == (list(predictor.labels), predictor.bundle.sha256)
        assert one.parameters == predictor.bundle.parameters


FORM = {"Content-Type": "multipart/form-data; boundary=x"}
PART = b'--x\r\nContent-Disposition: form-data; name="images"; filename="a"\r\n\r\ndata\r\n'


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        ({"headers": PNG, "content": b""}, "no-image"),
        ({"headers": PNG, "content": b"no image"}, "unreadable-image"),
        ({"headers": PNG, "content": b"x", "params": {"model": "third"}}, "unknown-model"),
        ({"headers": PNG, "content": b"x", "params": {"detector": "all"}}, "invalid-parameter"),
        ({"headers": PNG, "content": b"x", "params": {"min_confidence": "2"}}, "invalid-parameter"),
        ({"headers": PNG, "content": b"x", "params": {"min_confidence": "nan"}}, "invalid-parameter"),
        ({"headers": {"Content-Type": "text/html"}, "content": b"x"}, "unsupported-media-type"),
        ({"headers": {}, "content": b"x"}, "unsupported-media-type"),
        ({"headers": {"Content-Type": "multipart/form-data"}, "content": PART}, "bad-request"),
        ({"headers": {"Content-Type": f"multipart/form-data; boundary={'y' * 500}"}, "content": PART}, "bad-request"),
        ({"headers": FORM, "content": b"no form"}, "bad-request"),
        ({"headers": FORM, "content": PART}, "bad-request"),
        ({"headers": FORM, "content": PART.replace(b'; filename="a"', b"") + b"--x--"}, "bad-request"),
        ({"headers": FORM, "content": PART.replace(b"Content-Disposition", b"X" * 9000) + b"--x--"}, "bad-request"),
        ({"headers": FORM, "content": PART * 33 + b"--x--"}, "too-many-images"),
    ],
)
def test_what_is_refused_says_why(http: httpx.Client, request_: dict[str, Any], kind: str) -> None:
    check_problem(http.post("/v1/predict", **request_), kind)


def check_problem(answer: httpx.Response, kind: str) -> None:
    status, title = KINDS[kind]
    assert answer.headers["Content-Type"] == "application/problem+json"
    found = answer.json()
    assert (found["type"], found["title"], found["status"], answer.status_code) == (
        PREFIX + kind,
        title,
        status,
        status,
    )
    assert len(found["detail"]) > 10
    assert found["request_id"] == answer.headers["X-Request-ID"]


def test_a_body_without_a_length_is_refused_once_it_is_too_large(http: httpx.Client) -> None:
    taken = 0

    def endless() -> Iterator[bytes]:
        nonlocal taken
        for _ in range(1000):
            taken += 1
            yield b"x" * 1_000_000

    with suppress(httpx.WriteError):  # the service may close before the client has read its answer
        check_problem(http.post("/v1/predict", content=endless(), headers=PNG), "body-too-large")
    assert taken < 100


def test_other_paths_and_methods(http: httpx.Client) -> None:
    check_problem(http.get("/nothing"), "not-found")
    check_problem(http.get("/v1/predict"), "method-not-allowed")
    assert http.get("/v1/predict").headers["Allow"] == "POST"


def test_valid_request_ids_are_kept(http: httpx.Client) -> None:
    assert http.get("/healthz", headers={"X-Request-ID": "a-1_b.2"}).headers["X-Request-ID"] == "a-1_b.2"
    for bad in ("", "a b", "x" * 65, '"}\\n'):
        returned = http.get("/healthz", headers={"X-Request-ID": bad}).headers["X-Request-ID"]
        assert len(returned) == 32
        assert returned.isalnum()


def test_headers_that_protect(http: httpx.Client) -> None:
    for answer in (http.get("/healthz"), http.get("/v1/predict"), http.get("/nothing")):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "no-referrer"
        assert "Server" not in answer.headers
    assert http.get("/v1/models").headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in http.get("/v1/models").headers["Content-Security-Policy"]


def test_other_origins_are_allowed_only_where_they_are_listed(http: httpx.Client, predictor: Predictor) -> None:
    origin = {"Origin": "https://example.org"}
    assert "Access-Control-Allow-Origin" not in http.get("/healthz", headers=origin).headers
    with running(create_app({"m": predictor}, Settings(origins=("https://example.org",)))) as url:
        assert httpx.get(f"{url}/healthz", headers=origin).headers["Access-Control-Allow-Origin"] == origin["Origin"]
        other = httpx.get(f"{url}/healthz", headers={"Origin": "https://example.com"})
        assert "Access-Control-Allow-Origin" not in other.headers


def test_the_openapi_has_examples_that_are_valid_and_every_problem(http: httpx.Client) -> None:
    paths = http.get("/v1/openapi.json").json()["paths"]
    assert set(paths) == {"/v1/predict", "/v1/models", "/metrics", "/healthz", "/readyz"}
    (example,) = schemas.Answer.model_config["json_schema_extra"]["examples"]  # type: ignore[index,call-overload,union-attr]
    schemas.Answer.model_validate(example, strict=True)
    returned = {
        kind
        for operation in paths.values()
        for one in operation.values()
        for answer in one["responses"].values()
        for kind in answer.get("content", {}).get("application/problem+json", {}).get("examples", {})
    }
    assert returned == set(KINDS) - {"not-found", "method-not-allowed"}


def test_what_was_answered_is_counted(predictor: Predictor, files: list[bytes]) -> None:
    with running(create_app({"m": predictor})) as url, httpx.Client(base_url=url) as http:
        for data in (files[0], files[1], b"no image"):
            http.post("/v1/predict", content=data, params=CROP, headers=PNG)
        http.get("/some/path")
        lines = http.get("/metrics").text.splitlines()
    assert 'mien_requests_total{method="POST",path="/v1/predict",status="200"} 2.0' in lines
    assert 'mien_requests_total{method="POST",path="/v1/predict",status="422"} 1.0' in lines
    assert 'mien_requests_total{method="GET",path="other",status="404"} 1.0' in lines
    assert 'mien_images_total{model="m",outcome="read"} 2.0' in lines
    assert 'mien_images_total{model="m",outcome="refused"} 1.0' in lines
    assert 'mien_problems_total{kind="unreadable-image"} 1.0' in lines
    assert 'mien_waiting_images{model="m"} 0.0' in lines
    named = [float(line.split()[-1]) for line in lines if line.startswith("mien_faces_total")]
    assert sum(named) == 2


_written: list[str] = []
_watching = False


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if _watching and event == "open" and isinstance(arguments[2], int) and arguments[2] & 0x3:
        _written.append(str(arguments[0]))


def test_uploads_are_never_written_to_disk(http: httpx.Client) -> None:
    """Starlette's own reader of forms would write parts above 1 MB to a temporary file."""
    global _watching
    sys.addaudithook(_watch)  # it cannot be taken away, only be returned not to look
    large = encoded(np.random.default_rng(0).integers(0, 256, (1500, 1500), "uint8"))
    assert len(large) > 2_000_000
    _watching = True
    try:
        answer = http.post("/v1/predict", files=[("images", ("a.png", large)), ("images", ("b.png", large))])
        assert http.post("/v1/predict", content=large, headers=PNG).status_code == 200
    finally:
        _watching = False
    assert [one["error"] for one in answer.json()["images"]] == [None, None]
    assert _written == []
