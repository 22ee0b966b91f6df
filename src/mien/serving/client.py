"""A client of the service that ``mien serve`` runs. Needs httpx (the extra ``serve``)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, overload

from mien.errors import ServiceError, require
from mien.inference.results import Face, Prediction

Image = str | Path | bytes
"""A picture: a file, or an encoded file's bytes."""
Find = Literal["auto", "none"]


class Client:
    """A connection to a service; safe to use from several threads, and a context manager.

    Args:
        url: the service's address, such as ``"http://127.0.0.1:8000"``.
        key: an API key, where the service asks for one.
        timeout: seconds to wait for an answer.
        retries: how often a request is sent again after the service said that it is busy (429), each time after as
            many seconds as it said.

    Raises:
        MissingExtraError: where httpx is not installed.
    """

    def __init__(self, url: str, key: str | None = None, timeout: float = 60.0, retries: int = 3) -> None:
        self._httpx = require("httpx", "serve")
        self.url, self.retries = url.rstrip("/"), retries
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        # Proxies of the environment would be asked for a service on this machine, too.
        self._http = self._httpx.Client(headers=headers, timeout=timeout, trust_env=False)

    @overload
    def predict(
        self,
        images: Image,
        model: str | None = None,
        detector: Find = "auto",
        min_confidence: float = 0.0,
        min_face: int | None = None,
    ) -> Prediction: ...
    @overload
    def predict(
        self,
        images: list[Image] | tuple[Image, ...],
        model: str | None = None,
        detector: Find = "auto",
        min_confidence: float = 0.0,
        min_face: int | None = None,
    ) -> list[Prediction]: ...
    def predict(
        self,
        images: Image | list[Image] | tuple[Image, ...],
        model: str | None = None,
        detector: Find = "auto",
        min_confidence: float = 0.0,
        min_face: int | None = None,
    ) -> Prediction | list[Prediction]:
        """Find the faces of one image, or of a list or tuple of them, and name their expressions.

        Args:
            images: files, or encoded files' bytes.
            model: which of the service's models; without it, its first.
            detector: ``"auto"`` looks for faces; ``"none"`` takes every image as one face.
            min_confidence: a face whose most probable class is less probable, 0 to 1, is "uncertain".
            min_face: the side of the smallest face to find, in pixels of the image; without it, the service's.

        Returns:
            for one image a prediction, for several a list of them, in the same order. An image that the service
            cannot read gives a prediction with ``error``.

        Raises:
            ServiceError: where a file cannot be read here, the service cannot be reached, or it refuses the request.
        """
        several = images if isinstance(images, list | tuple) else [images]
        if not several:
            return []
        asked: dict[str, str | float] = {"detector": detector, "min_confidence": min_confidence}
        asked |= {name: value for name, value in (("model", model), ("min_face", min_face)) if value is not None}
        files = [("images", (_name(place, one), _data(one))) for place, one in enumerate(several)]
        answer = self._ask("POST", "/v1/predict", params=asked, files=files)
        names = [str(one) if isinstance(one, str | Path) else f"[{place}]" for place, one in enumerate(several)]
        found = [_prediction(name, one, min_confidence) for name, one in zip(names, answer["images"], strict=True)]
        return found if isinstance(images, list | tuple) else found[0]

    def models(self) -> list[dict[str, Any]]:
        """The service's models: name, labels, parameters, SHA-256, and which is the default.

        Raises:
            ServiceError: as :meth:`predict`.
        """
        return list(self._ask("GET", "/v1/models")["models"])

    def ready(self) -> bool:
        """Whether the service answers requests."""
        try:
            return bool(self._http.get(f"{self.url}/readyz").status_code == 200)
        except (self._httpx.HTTPError, self._httpx.InvalidURL):
            return False

    def close(self) -> None:
        """Close the connection."""
        self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, method: str, path: str, **content: Any) -> Any:
        for left in reversed(range(self.retries + 1)):
            try:
                answer = self._http.request(method, self.url + path, **content)
            except (self._httpx.HTTPError, self._httpx.InvalidURL) as error:
                mend = "Is it running, and is the address right?"
                raise ServiceError(f"the service cannot be reached ({error})", self.url, mend) from error
            if answer.status_code != 429 or not left:
                break
            time.sleep(float(answer.headers.get("Retry-After", 1)))
        if answer.status_code != 200:
            raise _refused(answer, self.url + path)
        try:
            return answer.json()
        except ValueError as error:
            raise ServiceError("what answers there is no mien service", self.url) from error


def _refused(answer: Any, where: str) -> ServiceError:
    try:
        said = answer.json()
        what, kind = f"{said['title']} ({said['detail'].rstrip('.')})", str(said["type"])
    except (ValueError, KeyError, TypeError, AttributeError):  # no problem of ours: a proxy, or another service
        what, kind = f"the service answered with status {answer.status_code}", None
    return ServiceError(what, where, status=answer.status_code, kind=kind)


def _name(place: int, image: Image) -> str:
    return f"{place}" if isinstance(image, bytes) else Path(image).name


def _data(image: Image) -> bytes:
    if isinstance(image, bytes):
        return image
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise ServiceError(error.strerror or str(error), image) from error


def _prediction(path: str, said: dict[str, Any], least: float) -> Prediction:
    faces = tuple(_face(one["box"], one["probabilities"], one["detection"], least) for one in said["faces"])
    return Prediction(path, said["width"], said["height"], faces, said["error"], said.get("note"))


def _face(box: Sequence[int], shares: dict[str, float], detection: float | None, least: float) -> Face:
    left, top, width, height = box
    return Face((left, top, width, height), shares, detection, least)
