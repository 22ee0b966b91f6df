"""The REST service: models behind bounded queues, and its routes."""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from PIL import Image
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware

import mien
from mien.inference import Predictor
from mien.inference.results import Prediction
from mien.serving.api import schemas
from mien.serving.api.access import Keys, RateLimiter
from mien.serving.api.batching import Engine
from mien.serving.api.metrics import Metrics
from mien.serving.api.middleware import Middleware
from mien.serving.api.openapi import PREDICT, problems
from mien.serving.api.problems import Problem
from mien.serving.api.uploads import MemoryLimit, Upload, read_uploads
from mien.serving.settings import Settings

_bearer = HTTPBearer(auto_error=False, description="A key of the service's key file.")
_header = APIKeyHeader(name="X-API-Key", auto_error=False, description="The same key, in a header of its own.")

Model = Annotated[str | None, Query(max_length=100, description="The model; without it, the first.")]
DetectorName = Annotated[
    Literal["auto", "none"], Query(description="auto detects faces; none takes every image as one face.")
]
MinConfidence = Annotated[
    float, Query(ge=0, le=1, description="A face whose most probable class is less probable is uncertain.")
]
MinFace = Annotated[
    int | None, Query(ge=1, description="The smallest face to detect, in pixels of the original image.")
]


class Service:
    """The state that the routes share.

    Args:
        predictors: the models, by name; the first answers where a request names none.
        settings: the limits.
        keys: the accepted keys; None accepts every request.
    """

    def __init__(self, predictors: Mapping[str, Predictor], settings: Settings, keys: Keys | None) -> None:
        self.settings, self.keys, self.metrics = settings, keys, Metrics()
        self.limiter, self.memory = RateLimiter(settings.rate, settings.burst), MemoryLimit(settings.memory_bytes)
        threads = settings.threads or os.cpu_count() or 1
        self.engines = {
            name: Engine(name, predictor, threads, settings.queue, partial(self.metrics.observe, name))
            for name, predictor in predictors.items()
        }
        self.ready = False

    async def start(self) -> None:
        """Start the engines and warm them up with a blank image."""
        for engine in self.engines.values():
            engine.start()
            for crop in (True, False):
                await engine.predict([_blank()], crop, seconds=300)
        self.ready = True

    def stop(self) -> None:
        """End the engines."""
        self.ready = False
        for engine in self.engines.values():
            engine.stop()

    def engine(self, name: str | None) -> Engine:
        """The engine of a model.

        Raises:
            Problem: where there is none of this name.
        """
        if name is None:
            return next(iter(self.engines.values()))
        if name not in self.engines:
            raise Problem("unknown-model", f"The models are {', '.join(self.engines)}.")
        return self.engines[name]

    def authorize(self, request: Request, key: str | None) -> None:
        """Check a request's key and rate.

        Raises:
            Problem: where the key is missing or wrong, or the client exceeds its rate.
        """
        client = request.client.host if request.client else ""
        if self.keys:
            owner = self.keys.owner(key or "")
            if owner is None:
                challenge = {"WWW-Authenticate": 'Bearer realm="mien"', "Connection": "close"}
                raise Problem("unauthorized", "Send a key as: Authorization: Bearer KEY.", challenge)
            request.state.owner = client = owner
        wait = self.limiter.take(client)
        if wait:
            headers = {"Retry-After": str(int(wait) + 1), "Connection": "close"}
            raise Problem("rate-limited", f"At most {self.settings.rate:g} requests a second are answered.", headers)


def _blank() -> bytes:
    buffer = io.BytesIO()
    Image.new("L", (48, 48), 128).save(buffer, "PNG")
    return buffer.getvalue()


# Both async: FastAPI runs other functions in threads, which takes longer than they do.
async def _service(request: Request) -> Service:
    return cast("Service", request.app.state.service)


CurrentService = Annotated[Service, Depends(_service)]


async def _authorize(
    request: Request,
    service: CurrentService,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    header: Annotated[str | None, Depends(_header)],
) -> None:
    service.authorize(request, bearer.credentials if bearer else header)


open_routes = APIRouter()
routes = APIRouter(dependencies=[Depends(_authorize)])


@routes.post("/v1/predict", response_model=schemas.Answer, openapi_extra=PREDICT, responses=problems("predict"))
async def predict(
    request: Request,
    service: CurrentService,
    model: Model = None,
    detector: DetectorName = "auto",
    min_confidence: MinConfidence = 0.0,
    min_face: MinFace = None,
) -> Response:
    """Detect the faces of one or many images, and predict their expressions.

    Send one image as the body, or several as the parts of a form, each with a file name. An image of a form that
    cannot be read has an ``error`` in its place, and the others are not affected; where the body is the image,
    that is a problem.
    """
    engine = service.engine(model)
    with service.memory.reservation() as reserve:
        uploads = await read_uploads(request, service.settings, reserve)
        images = [upload.data for upload in uploads]
        predictions = await engine.predict(images, detector == "none", service.settings.seconds, min_face)
    _count(service, request, engine.name, predictions)
    if uploads[0].name is None and predictions[0].error is not None:
        raise Problem("unreadable-image", f"{predictions[0].error}.".replace("..", "."))
    found = [_answer(one, upload, min_confidence) for one, upload in zip(predictions, uploads, strict=True)]
    return Response(json.dumps({"model": engine.name, "images": found}), media_type="application/json")


def _answer(one: Prediction, upload: Upload, min_confidence: float) -> dict[str, Any]:
    faces = [replace(face, min_confidence=min_confidence) for face in one.faces] if min_confidence else one.faces
    head = {"name": upload.name or None, "width": one.width, "height": one.height}
    return head | {"faces": [face.to_dict() for face in faces], "error": one.error, "note": one.note}


def _count(service: Service, request: Request, model: str, found: list[Prediction]) -> None:
    for one in found:
        service.metrics.images.labels(model, "refused" if one.error else "read").inc()
        for face in one.faces:
            service.metrics.faces.labels(model, face.emotion).inc()
    state = request.state
    state.model, state.images, state.faces = model, len(found), sum(len(one.faces) for one in found)


@routes.get("/v1/models", response_model=schemas.ModelsAnswer, responses=problems("models"))
async def models(service: CurrentService) -> dict[str, Any]:
    """The models of the service; the first is the default."""
    bundles = {name: engine.predictor.bundle for name, engine in service.engines.items()}
    return {
        "models": [
            {"name": name, "default": place == 0, "labels": list(bundle.card.labels)}
            | {"output": bundle.card.output, "parameters": bundle.parameters, "sha256": bundle.sha256}
            for place, (name, bundle) in enumerate(bundles.items())
        ]
    }


@routes.get("/metrics", response_class=Response, responses=problems("metrics"))
async def metrics(service: CurrentService) -> Response:
    """What the service counts, in Prometheus' text format."""
    text = await asyncio.to_thread(service.metrics.render)
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")


@open_routes.get("/healthz", response_model=schemas.State)
async def healthz() -> dict[str, str]:
    """Whether the process runs."""
    return {"status": "alive"}


@open_routes.get("/readyz", response_model=schemas.State, responses=problems("readyz"))
async def readyz(service: CurrentService) -> dict[str, str]:
    """Whether requests will be answered."""
    if not (service.ready and all(engine.alive for engine in service.engines.values())):
        raise Problem("not-ready", "The models are being loaded, or have stopped.", {"Retry-After": "1"})
    return {"status": "ready"}


def create_app(
    predictors: Mapping[str, Predictor], settings: Settings | None = None, keys: Keys | None = None
) -> FastAPI:
    """The service as an ASGI application.

    Args:
        predictors: the models, by name; the first answers where a request names none.
        settings: the limits; without them, the defaults.
        keys: the accepted keys; None accepts every request.

    Raises:
        ValueError: where there is no predictor.
    """
    if not predictors:
        raise ValueError("a service has at least one model")
    settings = settings or Settings()
    service = Service(predictors, settings, keys)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        yield
        service.stop()

    app = FastAPI(
        title="mien", version=mien.__version__, description="Facial expression recognition.", lifespan=lifespan,
        openapi_url="/v1/openapi.json", docs_url=None, redoc_url=None, redirect_slashes=False,
    )  # fmt: skip
    app.state.service = service
    app.include_router(open_routes)
    app.include_router(routes)
    app.add_exception_handler(Problem, _problem)
    app.add_exception_handler(HTTPException, _http_problem)
    app.add_exception_handler(RequestValidationError, _parameter_problem)
    if settings.origins:
        allowed = {"allow_methods": ["GET", "POST"], "allow_headers": ["Authorization", "X-API-Key", "X-Request-ID"]}
        app.add_middleware(CORSMiddleware, allow_origins=list(settings.origins), **allowed)  # type: ignore[arg-type]
    app.add_middleware(Middleware, metrics=service.metrics, body_bytes=settings.body_bytes)
    return app


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    request.state.problem = error.kind
    return error.response(request.state.request_id)


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    kind = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "bad-request")
    detail = {"not-found": "The paths are /v1/predict, /v1/models, /healthz, /readyz and /metrics."}
    return await _problem(request, Problem(kind, detail.get(kind, error.detail), error.headers))


async def _parameter_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = "; ".join(f"{'.'.join(map(str, one['loc'][1:]))}: {one['msg']}" for one in error.errors()[:3])
    return await _problem(request, Problem("invalid-parameter", faults, {"Connection": "close"}))
