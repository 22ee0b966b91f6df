"""A service with a shipped model, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from mien.data import Faces
from mien.model.bundle import shipped_models
from mien.predict import Prediction, Predictor
from mien.serve.api import create_app
from mien.serve.settings import Settings
from serving import encoded, running


@pytest.fixture(scope="session")
def predictor() -> Predictor:
    return Predictor(shipped_models()[0], threads=1, max_pixels=Settings().pixels)


@pytest.fixture(scope="session")
def url(predictor: Predictor) -> Iterator[str]:
    with running(create_app({"first": predictor, "second": predictor})) as address:
        yield address


@pytest.fixture(scope="session")
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, timeout=30) as client:
        yield client


@pytest.fixture(scope="session")
def files(drawn: Faces) -> list[bytes]:
    """Forty drawn faces as PNG files."""
    return [encoded(image) for image in drawn.images[:40]]


@pytest.fixture(scope="session")
def alone(predictor: Predictor, files: list[bytes]) -> list[Prediction]:
    """What the predictor says of each of the files, one by one."""
    return [predictor.crops([data])[0] for data in files]
