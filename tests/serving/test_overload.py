"""One bounded queue per model: waiting requests share a batch, excess is refused with 429, and nothing is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx
import pytest

from mien.data.decoding import Source
from mien.inference import Prediction, Predictor
from mien.inference.predictor import DetectedFaces
from mien.serving.api.app import create_app
from mien.serving.api.batching import Engine
from mien.serving.api.problems import Problem
from mien.serving.settings import Settings
from support.running_service import running

PNG = {"Content-Type": "image/png"}
CROP = {"detector": "none"}


class PausedPredictor(Predictor):
    """A predictor that classifies nothing while it is paused.

    Attributes:
        running: cleared while it is paused.
        sizes: how many images each batch had.
        detected: how many images had their faces detected.
    """

    def __init__(self, like: Predictor) -> None:
        super().__init__(like.bundle, threads=1, detector=like.detector, batch=8)
        self.running, self.sizes, self.detected = Event(), list[int](), 0
        self.running.set()

    def detect(self, image: Source, path: str = "", crop: bool = False, min_face: int | None = None) -> DetectedFaces:
        faces = super().detect(image, path, crop, min_face)
        self.detected += 1
        return faces

    def classify(self, detected: Sequence[DetectedFaces]) -> list[Prediction]:
        assert self.running.wait(60)
        self.sizes.append(len(detected))
        return super().classify(detected)


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition was not met in time"
        time.sleep(0.005)


@pytest.fixture
def paused(predictor: Predictor) -> PausedPredictor:
    return PausedPredictor(predictor)


def test_requests_that_wait_go_through_the_network_together(
    paused: PausedPredictor, files: list[bytes], alone: list[Prediction]
) -> None:
    observed: list[tuple[int, int]] = []

    async def send() -> list[list[Prediction]]:
        engine = Engine("m", paused, 2, 100, lambda faces, waiting: observed.append((faces, waiting)))
        engine.start()
        paused.running.clear()
        requests = [asyncio.create_task(engine.predict([data], True, 60)) for data in files[:21]]
        async with asyncio.timeout(30):
            while paused.detected < 21:
                await asyncio.sleep(0.005)
        paused.running.set()
        found = await asyncio.gather(*requests)
        engine.stop()
        return found

    found = asyncio.run(send())
    for (one,), expected in zip(found, alone, strict=False):
        assert one.faces[0].probabilities == pytest.approx(expected.faces[0].probabilities, abs=1e-5)
    assert sum(paused.sizes) == 21
    assert max(paused.sizes) == paused.batch == 8
    assert len(paused.sizes) <= 5  # the first batch, 1 to 8, waits in the network; 13 to 20 more are ready behind it
    assert [faces for faces, _ in observed if faces] == paused.sizes
    assert observed[-1][1] == 0


def test_a_full_queue_refuses_and_recovers(paused: PausedPredictor, files: list[bytes]) -> None:
    app = create_app({"m": paused}, Settings(queue=4, threads=2))
    engine = app.state.service.engines["m"]
    with running(app) as url, httpx.Client(base_url=url, timeout=60) as http, ThreadPoolExecutor(8) as pool:

        def post(place: int) -> httpx.Response:
            return http.post("/v1/predict", content=files[place], params=CROP, headers=PNG)

        paused.running.clear()
        waiting = [pool.submit(post, place) for place in range(4)]
        wait_until(lambda: engine.waiting == 4)
        refused = [post(place) for place in range(5)]
        many = http.post("/v1/predict", files=[("images", ("a", files[0]))] * 5)
        paused.running.set()
        assert [one.result().status_code for one in waiting] == [200] * 4
        assert [one.status_code for one in [*refused, many]] == [429] * 6
        assert all(1 <= int(one.headers["Retry-After"]) <= 60 for one in [*refused, many])
        assert refused[0].json()["type"] == "urn:mien:problem:queue-full"
        assert [post(place).status_code for place in range(5)] == [200] * 5
        assert engine.waiting == 0


def test_a_request_over_its_time_limit_fails_and_the_next_succeeds(paused: PausedPredictor, files: list[bytes]) -> None:
    app = create_app({"m": paused}, Settings(seconds=0.3, threads=1))
    engine = app.state.service.engines["m"]
    with running(app) as url, httpx.Client(base_url=url, timeout=60) as http:
        paused.running.clear()
        late = http.post("/v1/predict", content=files[0], params=CROP, headers=PNG)
        assert (late.status_code, late.json()["type"]) == (504, "urn:mien:problem:time-limit")
        paused.running.set()
        wait_until(lambda: engine.waiting == 0)
        app.state.service.settings = Settings()
        assert http.post("/v1/predict", content=files[0], params=CROP, headers=PNG).status_code == 200


def test_bodies_that_fill_the_memory_are_refused(paused: PausedPredictor, files: list[bytes]) -> None:
    app = create_app({"m": paused}, Settings(memory_bytes=2 * len(files[0]) + 10, threads=1))
    with running(app) as url, httpx.Client(base_url=url, timeout=60) as http, ThreadPoolExecutor(2) as pool:

        def post() -> httpx.Response:
            return http.post("/v1/predict", content=files[0], params=CROP, headers=PNG)

        paused.running.clear()
        waiting = [pool.submit(post) for _ in range(2)]
        wait_until(lambda: app.state.service.engines["m"].waiting == 2)
        refused = post()
        paused.running.set()
        assert (refused.status_code, [one.result().status_code for one in waiting]) == (429, [200, 200])
        wait_until(lambda: app.state.service.memory.used == 0)
        assert post().status_code == 200


class Broken(Predictor):
    """A predictor with faults: it fails to detect the faces of one image, and to classify any while ``down``."""

    down = False
    bad = b""

    def detect(self, image: Source, path: str = "", crop: bool = False, min_face: int | None = None) -> DetectedFaces:
        if isinstance(image, bytes) and image == self.bad:
            raise RuntimeError("a fault that only the log may show")
        return super().detect(image, path, crop, min_face)

    def classify(self, detected: Sequence[DetectedFaces]) -> list[Prediction]:
        if self.down:
            raise RuntimeError("a fault that only the log may show")
        return super().classify(detected)


def test_a_fault_is_a_problem_of_its_own_request_only(predictor: Predictor, files: list[bytes]) -> None:
    broken = Broken(predictor.bundle, threads=1, detector=predictor.detector)
    broken.bad = files[1]
    with running(create_app({"m": broken}, Settings(threads=1))) as url, httpx.Client(base_url=url) as http:

        def post(place: int) -> httpx.Response:
            return http.post("/v1/predict", content=files[place], params=CROP, headers=PNG)

        assert [post(place).status_code for place in (0, 1, 2)] == [200, 500, 200]
        answer = post(1)
        assert answer.json()["type"] == "urn:mien:problem:internal"
        assert "only the log" not in answer.text
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        broken.down = True
        assert post(0).status_code == 500
        broken.down = False
        assert post(0).status_code == 200


def test_a_service_that_has_not_started_is_not_ready(predictor: Predictor) -> None:
    async def post() -> list[httpx.Response]:
        transport = httpx.ASGITransport(create_app({"m": predictor}))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
            return [await http.get(path) for path in ("/healthz", "/readyz")]

    assert [one.status_code for one in asyncio.run(post())] == [200, 503]


def test_retry_after_grows_with_the_queue(paused: PausedPredictor) -> None:
    engine = Engine("m", paused, 1, 10_000, lambda faces, waiting: None)
    seconds = []
    for engine.waiting in (0, 100, 200, 9_000):
        seconds.append(engine.retry_after())
    assert seconds[0] == 1
    assert seconds[-1] == 60
    assert seconds == sorted(seconds)


def test_an_engine_refuses_more_than_it_holds(paused: PausedPredictor) -> None:
    async def post() -> None:
        await Engine("m", paused, 1, 3, lambda faces, waiting: None).predict([b""] * 4, True, 1)

    with pytest.raises(Problem, match="queue holds 3"):
        asyncio.run(post())
