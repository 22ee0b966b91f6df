"""One model behind one bounded queue: requests arrive one by one, their faces go through the network together.

Threads decode images and detect faces; one more thread classifies whatever faces are ready, up to a batch. While it
works the next batch gathers, so nobody waits for a batch to fill.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from mien.inference.predictor import DetectedFaces, Predictor
from mien.inference.results import Prediction
from mien.serving.api.problems import Problem

Observer = Callable[[int, int], None]
"""Called with the faces of a batch, or 0 when a request ends, and with how many images wait."""
_Detected = tuple[DetectedFaces, "asyncio.Future[Prediction]"]


class Engine:
    """A predictor that serves many requests at once; it belongs to one event loop.

    Args:
        name: the model's name in the service.
        predictor: detects and classifies.
        threads: how many threads decode and detect.
        capacity: the most images that wait or are being processed.
        observe: called in the event loop.
    """

    def __init__(
        self, name: str, predictor: Predictor, threads: int, capacity: int, observe: Observer = lambda *_: None
    ) -> None:
        self.name, self.predictor, self.capacity = name, predictor, capacity
        self.waiting = 0
        self._observe = observe
        self._detection = ThreadPoolExecutor(threads, f"detect {name}")
        self._network = ThreadPoolExecutor(1, f"classify {name}")
        self._ready: asyncio.Queue[_Detected] = asyncio.Queue()
        self._batches: asyncio.Task[None] | None = None
        self._last, self._pace = 0.0, 0.02  # when the last batch ended; seconds per image, a running mean

    def start(self) -> None:
        """Start to process; called in the event loop that sends requests."""
        self._batches = asyncio.create_task(self._run())

    def stop(self) -> None:
        """End the threads once they are done with their images; those that still wait are dropped."""
        if self._batches is not None:
            self._batches.cancel()
        for pool in (self._detection, self._network):
            pool.shutdown(wait=False, cancel_futures=True)

    @property
    def alive(self) -> bool:
        """Whether requests are processed."""
        return self._batches is not None and not self._batches.done()

    async def predict(
        self, images: Sequence[bytes], crop: bool, seconds: float, min_face: int | None = None
    ) -> list[Prediction]:
        """Predictions of images, in their order; one that cannot be read gives a prediction with ``error``.

        Args:
            images: each image file's bytes.
            crop: take each image as one face.
            seconds: how long to wait at most.
            min_face: as that of :meth:`mien.inference.Predictor.detect`.

        Raises:
            Problem: where the queue is full, or the time is over.
        """
        if self.waiting + len(images) > self.capacity:
            detail = f"{self.waiting} images wait already, and the queue holds {self.capacity}. Try again later."
            raise Problem("queue-full", detail, {"Retry-After": str(self.retry_after())})
        if not self.waiting:
            self._last = time.monotonic()
        self.waiting += len(images)
        try:
            async with asyncio.timeout(seconds):
                return await asyncio.gather(*(self._one(data, crop, min_face) for data in images))
        except TimeoutError as error:
            raise Problem("time-limit", f"No answer within {seconds:g} s. Send fewer or smaller images.") from error
        finally:
            self.waiting -= len(images)
            self._observe(0, self.waiting)

    def retry_after(self) -> int:
        """In how many seconds the images that wait now will be processed, about: 1 to 60."""
        return max(1, min(60, math.ceil(self.waiting * self._pace)))

    async def _one(self, data: bytes, crop: bool, min_face: int | None) -> Prediction:
        loop = asyncio.get_running_loop()
        detected = await loop.run_in_executor(self._detection, self.predictor.detect, data, "", crop, min_face)
        answer: asyncio.Future[Prediction] = loop.create_future()
        self._ready.put_nowait((detected, answer))
        return await answer

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch, faces = await self._next_batch()
            try:
                detected = [detected for detected, _ in batch]
                predictions = await loop.run_in_executor(self._network, self.predictor.classify, detected)
            except Exception as error:  # each request's own task raises it
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
            else:
                for (_, answer), prediction in zip(batch, predictions, strict=True):
                    if not answer.done():
                        answer.set_result(prediction)
            now = time.monotonic()
            self._pace += 0.1 * ((now - self._last) / len(batch) - self._pace)
            self._last = now
            self._observe(faces, self.waiting)

    async def _next_batch(self) -> tuple[list[_Detected], int]:
        """Whatever is ready and still waited for, up to a batch of faces; and how many faces."""
        batch: list[_Detected] = []
        faces = 0
        while not batch or (faces < self.predictor.batch and not self._ready.empty()):
            detected, answer = await self._ready.get()
            if not answer.done():  # else its request was given up
                batch.append((detected, answer))
                faces += len(detected.crops)
        return batch, faces
