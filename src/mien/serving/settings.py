"""Every limit of the service in one place."""

from __future__ import annotations

from dataclasses import dataclass, fields

from mien.errors import ServiceError


@dataclass(frozen=True)
class Settings:
    """The limits of one process of the service.

    Attributes:
        body_bytes: the largest body of a request.
        memory_bytes: the most bytes of all bodies together that wait for their answers; beyond it requests get 429.
        pixels: the largest image, in pixels; it is refused before it is decoded.
        images: the most images of a request.
        queue: the most images that wait for one model; beyond it requests get 429.
        seconds: how long a request may wait for its answer once its body has arrived.
        header_seconds: how long a client may take to send a request's head.
        body_seconds: how long it may take to send the body.
        idle_seconds: how long a connection stays open without a request.
        grace_seconds: how long requests in flight may take to finish when the service stops.
        rate: requests a second of each key, or of each address where there are no keys; 0 sets no limit.
        burst: how many requests may arrive at once within that rate.
        connections: the most connections.
        threads: how many threads decode and detect, and how many the network uses; 0 for one per processor.
        origins: the web origins whose pages may send requests (CORS); none by default.

    Raises:
        ServiceError: where a limit is not above 0 (``rate`` and ``threads``: below 0).
    """

    body_bytes: int = 20_000_000
    memory_bytes: int = 256_000_000
    pixels: int = 40_000_000
    images: int = 32
    queue: int = 256
    seconds: float = 30.0
    header_seconds: float = 10.0
    body_seconds: float = 30.0
    idle_seconds: int = 15
    grace_seconds: int = 30
    rate: float = 0.0
    burst: int = 20
    connections: int = 1000
    threads: int = 0
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self) if field.name != "origins"):
            value = getattr(self, name)
            if not (value >= 0 if name in ("rate", "threads") else value > 0):
                raise ServiceError(f"the limit {name} is too small ({value})", mend="Give a larger one.")
