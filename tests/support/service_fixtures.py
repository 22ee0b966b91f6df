"""Fixtures of the tests of the service. What they import is heavy, so it is imported by those that need it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from mien.data import Faces

if TYPE_CHECKING:
    import httpx

    from mien.inference import Prediction, Predictor


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    """A shipped model, with the service's limit on pixels."""
    from mien.inference import Predictor
    from mien.models.load import shipped_models
    from mien.serving.settings import Settings

    return Predictor(shipped_models()[0], threads=1, max_pixels=Settings().pixels)


@pytest.fixture(scope="session")
def url(predictor: Predictor) -> Iterator[str]:
    """The address of a service with that model, under two names."""
    from mien.serving.api.app import create_app
    from support.running_service import running

    with running(create_app({"first": predictor, "second": predictor})) as address:
        yield address


@pytest.fixture(scope="session")
def http(url: str) -> Iterator[httpx.Client]:
    """A client of that service."""
    import httpx

    with httpx.Client(base_url=url, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def files(drawn: Faces) -> list[bytes]:
    """Forty drawn faces as PNG files."""
    from support.running_service import encoded

    return [encoded(image) for image in drawn.images[:40]]


@pytest.fixture(scope="session")
def alone(predictor: Predictor, files: list[bytes]) -> list[Prediction]:
    """The prediction of each file, one by one."""
    return [predictor.crops([data])[0] for data in files]
