"""A client of the service that ``mien serve`` runs. Needs httpx (the extra ``serve``)."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Literal, overload

from mien.errors import ServiceError, require
from mien.inference.results import Face, Prediction

Image = str | Path | bytes
"""A file, or an encoded file's bytes."""
DetectorName = Literal["auto", "none"]


class Client:
    """A connection to a service; safe to use from several threads, and a context manager.

    Args:
        url: the service's address, such as ``"http://127.0.0.1:8000"``.
        key: an API key, where the service needs one.
        timeout: seconds to wait for an answer.
        retries: how often a request is repeated where the service is busy (429), each time after the seconds that its
            ``Retry-After`` gives.

    Raises:
        MissingExtraError: where httpx is not installed.
    """

    def __init__(self, url: str, key: str | None = None, timeout: float = 60.0, retries: int = 3) -> None:
        self._httpx = require("httpx", "serve")
        self.url, self.retries = url.rstrip("/"), retries
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        # The environment's proxies would be used for a service on this machine, too.
        self._http = self._httpx.Client(headers=headers, timeout=timeout, trust_env=False)

    @overload
    def predict(
        self,
        images: Image,
        model: str | None = None,
        detector: DetectorName = "auto",
        min_confidence: float = 0.0,
        min_face: int | None = None,
    ) -> Prediction: ...
    @overload
    def predict(
        self,
        images: list[Image] | tuple[Image, ...],
        model: str | None = None,
        detector: DetectorName = "auto",
        min_confidence: float = 0.0,
        min_face: int | None = None,
    ) -> list[Prediction]: ...
    def predict(
        self,
        images: Image | list[Image] | tuple[Image, ...],
        model: str | None = None,
        detector: DetectorName = "auto",
        min_confidence: float = 0.0,
        min_face: int | None = None,
    ) -> Prediction | list[Prediction]:
        """Detect the faces of one image, or of a list or tuple of them, and predict their expressions.

        Args:
            images: files, or encoded files' bytes.
            model: which of the service's models; without it, its first.
            detector: ``"auto"`` detects faces; ``"none"`` takes every image as one face.
            min_confidence: a face whose most probable class is less probable, 0 to 1, is "uncertain".
            min_face: the side of the smallest face to detect, in pixels of the image; without it, the service's.

        Returns:
            for one image a prediction, for several a list of them, in the same order. An image that the service
            cannot read gives a prediction with ``error``.

        Raises:
            ServiceError: where a file cannot be read here, the service cannot be reached, or it refuses the request.
        """
        several = images if isinstance(images, list | tuple) else [images]
        if not several:
            return []
        options = {"detector": detector, "min_confidence": min_confidence, "model": model, "min_face": min_face}
        params = {name: value for name, value in options.items() if value is not None}
        names = [f"[{place}]" if isinstance(image, bytes) else str(image) for place, image in enumerate(several)]
        files = [("images", (Path(name).name, _read(image))) for name, image in zip(names, several, strict=True)]
        answers = self._request("POST", "/v1/predict", params=params, files=files)["images"]
        found = [_prediction(name, answer, min_confidence) for name, answer in zip(names, answers, strict=True)]
        return found if isinstance(images, list | tuple) else found[0]

    def models(self) -> list[dict[str, Any]]:
        """The service's models: name, labels, parameters, SHA-256, and which is the default.

        Raises:
            ServiceError: as :meth:`predict`.
        """
        return list(self._request("GET", "/v1/models")["models"])

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

    def __exit__(self, *_: object) -> None:
        self.close()

    def _request(self, method: str, path: str, **content: Any) -> Any:
        for retries in reversed(range(self.retries + 1)):
            try:
                answer = self._http.request(method, self.url + path, **content)
            except (self._httpx.HTTPError, self._httpx.InvalidURL) as error:
                mend = "Is it running, and is the address right?"
                raise ServiceError(f"the service cannot be reached ({error})", self.url, mend) from error
            if answer.status_code != 429 or not retries:
                break
            time.sleep(float(answer.headers.get("Retry-After", 1)))
        if answer.status_code != 200:
            raise _refusal(answer, self.url + path)
        try:
            return answer.json()
        except ValueError as error:
            raise ServiceError("what answers there is no mien service", self.url) from error


def _refusal(answer: Any, where: str) -> ServiceError:
    try:
        problem = answer.json()
        what, kind = f"{problem['title']} ({problem['detail'].rstrip('.')})", str(problem["type"])
    except (ValueError, KeyError, TypeError, AttributeError):  # not our problem document: a proxy, or another service
        what, kind = f"the service answered with status {answer.status_code}", None
    return ServiceError(what, where, status=answer.status_code, kind=kind)


def _read(image: Image) -> bytes:
    if isinstance(image, bytes):
        return image
    try:
        return Path(image).read_bytes()
    except OSError as error:
        raise ServiceError(error.strerror or str(error), image) from error


def _prediction(path: str, answer: dict[str, Any], min_confidence: float) -> Prediction:
    faces = tuple(
        Face(tuple(face["box"]), face["probabilities"], face["detection"], min_confidence) for face in answer["faces"]
    )
    return Prediction(path, answer["width"], answer["height"], faces, answer["error"], answer.get("note"))
