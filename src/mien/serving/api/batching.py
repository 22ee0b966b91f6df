"""One model behind one bounded queue: requests come one by one, their faces go through the network together.

Threads decode images and look for faces; one thread takes whatever faces are ready, up to a batch, through the
network. While it works the next batch gathers, so nobody waits for a batch to fill.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from threading import Thread

from mien.inference.predictor import DetectedFaces, Predictor
from mien.inference.results import Prediction
from mien.serving.api.problems import Problem

Observer = Callable[[int, int], None]
"""Told, after every batch, how many faces it had and how many images still wait."""


class _Request:
    """A request's images: which answers are there, and who waits for all of them."""

    def __init__(self, count: int) -> None:
        self.done: asyncio.Future[list[Prediction]] = asyncio.get_running_loop().create_future()
        self.answers: dict[int, Prediction] = {}
        self.count = count
        self.dropped = False  # nobody waits any more


@dataclass
class _Item:
    request: _Request
    place: int
    data: bytes
    path: str
    crop: bool
    min_face: int | None = None
    looked: DetectedFaces | None = None
    error: Exception | None = None


class Engine:
    """A predictor that serves many requests at once; it belongs to one event loop.

    Args:
        name: the model's name in the service.
        predictor: what looks and names.
        lookers: how many threads decode and look.
        capacity: the most images that wait or are worked on.
        observe: is told of every batch, in the event loop.
    """

    def __init__(
        self,
        name: str,
        predictor: Predictor,
        lookers: int,
        capacity: int,
        observe: Observer = lambda faces, waiting: None,
    ) -> None:
        self.name, self.predictor, self.capacity = name, predictor, capacity
        self.waiting = 0
        self._observe = observe
        self._incoming: SimpleQueue[_Item | None] = SimpleQueue()
        self._ready: SimpleQueue[_Item | None] = SimpleQueue()
        self._lookers = [Thread(target=self._look, name=f"look {name}", daemon=True) for _ in range(lookers)]
        self._namer = Thread(target=self._name, name=f"name {name}", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = False
        self._last, self._pace = 0.0, 0.02  # when the last batch ended; seconds an image, a running mean

    def start(self) -> None:
        """Start the threads; called in the event loop that will ask."""
        self._loop = asyncio.get_running_loop()
        for thread in (*self._lookers, self._namer):
            thread.start()

    def stop(self) -> None:
        """End the threads; images that still wait are dropped."""
        self._stopping = True
        for _ in self._lookers:
            self._incoming.put(None)
        for thread in self._lookers:
            thread.join()
        self._ready.put(None)
        self._namer.join()

    @property
    def alive(self) -> bool:
        """Whether every thread runs."""
        return all(thread.is_alive() for thread in (*self._lookers, self._namer))

    async def predict(
        self, images: Sequence[tuple[str, bytes]], crop: bool, seconds: float, min_face: int | None = None
    ) -> list[Prediction]:
        """Predictions of images, in their order; one that cannot be read gives a prediction with ``error``.

        Args:
            images: each one's name and its file's bytes.
            crop: take each image as one face.
            seconds: how long to wait at most.
            min_face: as that of :meth:`mien.inference.Predictor.detect`.

        Raises:
            Problem: where the queue is full, or the time is over.
        """
        if self.waiting + len(images) > self.capacity:
            raise Problem(
                "queue-full",
                f"{self.waiting} images wait already, and the queue holds {self.capacity}. Try again later.",
                {"Retry-After": str(self.retry_after())},
            )
        request = _Request(len(images))
        if not self.waiting:
            self._last = time.monotonic()
        self.waiting += len(images)
        for place, (path, data) in enumerate(images):
            self._incoming.put(_Item(request, place, data, path, crop, min_face))
        try:
            async with asyncio.timeout(seconds):
                return await request.done
        except TimeoutError as error:
            raise Problem("time-limit", f"No answer within {seconds:g} s. Send fewer or smaller images.") from error
        finally:
            request.dropped = True

    def retry_after(self) -> int:
        """In how many seconds what waits now will be done, about: 1 to 60."""
        return max(1, min(60, math.ceil(self.waiting * self._pace)))

    def _look(self) -> None:
        while (item := self._incoming.get()) is not None:
            if not (item.request.dropped or self._stopping):
                try:
                    item.looked = self.predictor.detect(item.data, item.path, item.crop, item.min_face)
                except Exception as error:  # the request's own task raises it
                    item.error = error
            item.data = b""
            self._ready.put(item)

    def _name(self) -> None:
        while (item := self._ready.get()) is not None:
            items, faces, ended = self._gathered(item)
            looked = [one for one in items if one.looked is not None]
            try:
                answers = self.predictor.classify([one.looked for one in looked if one.looked is not None])
            except Exception as error:  # the requests' own tasks raise it
                for one in looked:
                    one.error = error
                answers = []
            self._hand_over(items, dict(zip(map(id, looked), answers, strict=False)), faces)
            if ended:
                break

    def _gathered(self, first: _Item) -> tuple[list[_Item], int, bool]:
        """What is ready now, up to a batch of faces; how many faces; whether the end came."""
        items, faces = [first], len(first.looked.crops) if first.looked else 0
        while faces < self.predictor.batch:
            try:
                item = self._ready.get_nowait()
            except Empty:
                break
            if item is None:
                return items, faces, True
            items.append(item)
            faces += len(item.looked.crops) if item.looked else 0
        return items, faces, False

    def _hand_over(self, items: list[_Item], answers: dict[int, Prediction], faces: int) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._deliver, items, answers, faces)
        except RuntimeError:  # the loop has closed: the service was killed while this batch ran
            self._stopping = True

    def _deliver(self, items: list[_Item], answers: dict[int, Prediction], faces: int) -> None:
        now = time.monotonic()
        self._pace += 0.1 * ((now - self._last) / len(items) - self._pace)
        self._last = now
        self.waiting -= len(items)
        for item in items:
            request = item.request
            if request.done.done():
                continue
            if item.error is not None:
                request.done.set_exception(item.error)
            elif id(item) in answers:
                request.answers[item.place] = answers[id(item)]
                if len(request.answers) == request.count:
                    request.done.set_result([request.answers[place] for place in range(request.count)])
        self._observe(faces, self.waiting)
