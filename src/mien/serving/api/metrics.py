"""What the service counts, for Prometheus; with several processes, all of them together."""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names the folder in which processes share their counts; it must be set before they start."""
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_FACES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counts of one process."""

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        self.requests = Counter(
            "mien_requests", "Requests, by path, method and status.", ("path", "method", "status"), registry=own
        )
        self.seconds = Histogram(
            "mien_request_seconds", "From a request's head to its answer.", ("path",), buckets=_SECONDS, registry=own
        )
        self.images = Counter(
            "mien_images", "Images that were answered, by outcome: read or refused.", ("model", "outcome"), registry=own
        )
        self.faces = Counter("mien_faces", "Faces that were named.", ("model", "emotion"), registry=own)
        self.problems = Counter("mien_problems", "Refusals, by the problem's kind.", ("kind",), registry=own)
        self.batch = Histogram(
            "mien_batch_faces",
            "Faces that went through the network together.",
            ("model",),
            buckets=_FACES,
            registry=own,
        )
        self.waiting = Gauge(
            "mien_waiting_images", "Images that wait or are worked on.", ("model",), registry=own,
            multiprocess_mode="livesum",
        )  # fmt: skip
        remove_dead_processes()

    def render(self) -> bytes:
        """Everything in Prometheus' text format."""
        if FOLDER not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)


def remove_dead_processes() -> None:
    """Drop what processes that have ended left of gauges; their counters stay in the sums."""
    folder = os.environ.get(FOLDER)
    if folder is None:
        return
    for file in Path(folder).glob("gauge_live*_*.db"):
        number = file.stem.rpartition("_")[2]
        if number.isdigit() and not _alive(int(number)):
            mark_process_dead(int(number))  # type: ignore[no-untyped-call]


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
