"""What the service counts, for Prometheus; with several processes, all of them together."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names the folder in which processes share their counts; it must be set before they start."""
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_FACES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counts of one process."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": registry}
        self.requests = Counter("mien_requests", "Requests.", ("path", "method", "status"), **own)
        self.seconds = Histogram(
            "mien_request_seconds", "From a request's head to its answer.", ("path",), buckets=_SECONDS, **own
        )
        self.images = Counter("mien_images", "Images, by outcome: read or refused.", ("model", "outcome"), **own)
        self.faces = Counter("mien_faces", "Faces that were classified.", ("model", "emotion"), **own)
        self.problems = Counter("mien_problems", "Refusals, by the problem's kind.", ("kind",), **own)
        self.batch = Histogram("mien_batch_faces", "Faces in a batch.", ("model",), buckets=_FACES, **own)
        self.waiting = Gauge(
            "mien_waiting_images", "Images in the queue or in a batch.", ("model",), multiprocess_mode="livesum", **own
        )
        remove_dead_processes()

    def observe(self, model: str, faces: int, waiting: int) -> None:
        """Count a batch, where it has faces, and how many images of a model wait."""
        if faces:
            self.batch.labels(model).observe(faces)
        self.waiting.labels(model).set(waiting)

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        if FOLDER not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)


def remove_dead_processes() -> None:
    """Drop the gauges of processes that have ended; their counters stay in the sums."""
    folder = os.environ.get(FOLDER)
    for file in Path(folder).glob("gauge_live*_*.db") if folder else ():
        process = int(file.stem.rpartition("_")[2])
        with suppress(PermissionError):  # the number belongs to another user's process by now
            try:
                os.kill(process, 0)
            except ProcessLookupError:
                mark_process_dead(process)  # type: ignore[no-untyped-call]
