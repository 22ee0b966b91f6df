"""One bounded queue a model: what waits together goes together, what is too much is shed, and nothing is lost."""

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


class PendingUpload(Predictor):
    """A predictor that names nothing while its gate is shut."""

    def __init__(self, like: Predictor) -> None:
        super().__init__(like.bundle, threads=1, detector=like.detector, batch=8)
        self.open, self.sizes, self.seen = Event(), list[int](), list[str]()
        self.open.set()

    def detect(self, image: Source, path: str = "", crop: bool = False, min_face: int | None = None) -> DetectedFaces:
        looked = super().detect(image, path, crop, min_face)
        self.seen.append(path)
        return looked

    def classify(self, detected: Sequence[DetectedFaces]) -> list[Prediction]:
        assert self.open.wait(60)
        self.sizes.append(len(detected))
        return super().classify(detected)


def until(met: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < deadline, "it never was so"
        time.sleep(0.005)


@pytest.fixture
def held(predictor: Predictor) -> PendingUpload:
    return PendingUpload(predictor)


def test_requests_that_wait_go_through_the_network_together(
    held: PendingUpload, files: list[bytes], alone: list[Prediction]
) -> None:
    seen: list[tuple[int, int]] = []

    async def ask() -> list[list[Prediction]]:
        engine = Engine("m", held, 2, 100, lambda faces, waiting: seen.append((faces, waiting)))
        engine.start()
        held.open.clear()
        asked = [asyncio.create_task(engine.predict([("", data)], True, 60)) for data in files[:21]]
        async with asyncio.timeout(30):
            while len(held.seen) < 21:
                await asyncio.sleep(0.005)
        held.open.set()
        found = await asyncio.gather(*asked)
        engine.stop()
        return found

    found = asyncio.run(ask())
    for (one,), expected in zip(found, alone, strict=False):
        assert one.faces[0].probabilities == pytest.approx(expected.faces[0].probabilities, abs=1e-5)
    assert sum(held.sizes) == 21
    assert max(held.sizes) == held.batch == 8
    assert len(held.sizes) <= 5  # what came first, up to 8, waits at the gate; 13 to 20 more are ready behind it
    assert [faces for faces, _ in seen] == held.sizes
    assert seen[-1][1] == 0


def test_a_full_queue_sheds_and_recovers(held: PendingUpload, files: list[bytes]) -> None:
    app = create_app({"m": held}, Settings(queue=4, threads=2))
    engine = app.state.service.engines["m"]
    with running(app) as url, httpx.Client(base_url=url, timeout=60) as http, ThreadPoolExecutor(8) as pool:

        def ask(place: int) -> httpx.Response:
            return http.post("/v1/predict", content=files[place], params=CROP, headers=PNG)

        held.open.clear()
        waiting = [pool.submit(ask, place) for place in range(4)]
        until(lambda: engine.waiting == 4)
        refused = [ask(place) for place in range(5)]
        many = http.post("/v1/predict", files=[("images", ("a", files[0]))] * 5)
        held.open.set()
        assert [one.result().status_code for one in waiting] == [200] * 4
        assert [one.status_code for one in [*refused, many]] == [429] * 6
        assert all(1 <= int(one.headers["Retry-After"]) <= 60 for one in [*refused, many])
        assert refused[0].json()["type"] == "urn:mien:problem:queue-full"
        assert [ask(place).status_code for place in range(5)] == [200] * 5
        assert engine.waiting == 0


def test_what_takes_too_long_is_given_up_and_the_next_is_answered(held: PendingUpload, files: list[bytes]) -> None:
    app = create_app({"m": held}, Settings(seconds=0.3, threads=1))
    engine = app.state.service.engines["m"]
    with running(app) as url, httpx.Client(base_url=url, timeout=60) as http:
        held.open.clear()
        late = http.post("/v1/predict", content=files[0], params=CROP, headers=PNG)
        assert (late.status_code, late.json()["type"]) == (504, "urn:mien:problem:time-limit")
        held.open.set()
        until(lambda: engine.waiting == 0)
        app.state.service.settings = Settings()
        assert http.post("/v1/predict", content=files[0], params=CROP, headers=PNG).status_code == 200


def test_bodies_that_fill_the_memory_are_shed(held: PendingUpload, files: list[bytes]) -> None:
    app = create_app({"m": held}, Settings(held_bytes=2 * len(files[0]) + 10, threads=1))
    with running(app) as url, httpx.Client(base_url=url, timeout=60) as http, ThreadPoolExecutor(2) as pool:

        def ask() -> httpx.Response:
            return http.post("/v1/predict", content=files[0], params=CROP, headers=PNG)

        held.open.clear()
        waiting = [pool.submit(ask) for _ in range(2)]
        until(lambda: app.state.service.engines["m"].waiting == 2)
        refused = ask()
        held.open.set()
        assert (refused.status_code, [one.result().status_code for one in waiting]) == (429, [200, 200])
        until(lambda: app.state.service.held.bytes == 0)
        assert ask().status_code == 200


class Broken(Predictor):
    """A predictor with a fault: it cannot look at one picture, and cannot name crops while ``down``."""

    down = False
    bad = b""

    def detect(self, image: Source, path: str = "", crop: bool = False, min_face: int | None = None) -> DetectedFaces:
        if isinstance(image, bytes) and image == self.bad:
            raise RuntimeError("a fault that only the log may tell")
        return super().detect(image, path, crop, min_face)

    def classify(self, detected: Sequence[DetectedFaces]) -> list[Prediction]:
        if self.down:
            raise RuntimeError("a fault that only the log may tell")
        return super().classify(detected)


def test_a_fault_is_a_problem_of_its_own_request_only(predictor: Predictor, files: list[bytes]) -> None:
    is_corrupt = Broken(predictor.bundle, threads=1, detector=predictor.detector)
    is_corrupt.bad = files[1]
    with running(create_app({"m": is_corrupt}, Settings(threads=1))) as url, httpx.Client(base_url=url) as http:

        def ask(place: int) -> httpx.Response:
            return http.post("/v1/predict", content=files[place], params=CROP, headers=PNG)

        assert [ask(place).status_code for place in (0, 1, 2)] == [200, 500, 200]
        answer = ask(1)
        assert answer.json()["type"] == "urn:mien:problem:internal"
        assert "only the log" not in answer.text
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        is_corrupt.down = True
        assert ask(0).status_code == 500
        is_corrupt.down = False
        assert ask(0).status_code == 200


def test_a_service_that_has_not_started_is_not_ready(predictor: Predictor) -> None:
    async def ask() -> list[httpx.Response]:
        transport = httpx.ASGITransport(create_app({"m": predictor}))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as http:
            return [await http.get(path) for path in ("/healthz", "/readyz")]

    assert [one.status_code for one in asyncio.run(ask())] == [200, 503]


def test_how_long_to_stay_away_grows_with_what_waits(held: PendingUpload) -> None:
    engine = Engine("m", held, 1, 10_000, lambda faces, waiting: None)
    told = []
    for engine.waiting in (0, 100, 200, 9_000):
        told.append(engine.retry_after())
    assert told[0] == 1
    assert told[-1] == 60
    assert told == sorted(told)


def test_an_engine_refuses_more_than_it_holds(held: PendingUpload) -> None:
    async def ask() -> None:
        await Engine("m", held, 1, 3, lambda faces, waiting: None).predict([("", b"")] * 4, True, 1)

    with pytest.raises(Problem, match="queue holds 3"):
        asyncio.run(ask())
