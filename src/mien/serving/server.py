"""Running the service: models loaded, a socket bound, one process or several."""

from __future__ import annotations

import os
import signal
import socket
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from mien.errors import ServiceError
from mien.inference import Predictor
from mien.inference.detection import find_detector
from mien.models.bundle import BEST, Bundle
from mien.models.load import load_bundle
from mien.serving.api.access import Keys
from mien.serving.api.app import create_app
from mien.serving.api.logs import LOG_CONFIG
from mien.serving.api.metrics import FOLDER
from mien.serving.api.protocol import TimeoutProtocol
from mien.serving.settings import Settings


@dataclass(frozen=True)
class Options:
    """What is served, and where.

    Attributes:
        models: each a shipped model's name, a file or a run folder, with a name of its own where it is NAME=MODEL.
        data: the data set that the page shows; None for none.
        host: the address to listen at.
        port: the port; 0 takes a free one.
        key_file: the file of the API keys; None lets everybody ask.
        workers: how many processes.
        page: whether the page is served as well.
        detector: what finds faces: auto, centerface or yunet.
        min_face: as :class:`mien.inference.Predictor`'s, where a request asks for no other.
        settings: the limits of each process.
        label_order: as that of :func:`mien.load_faces`, for the data set.
    """

    models: tuple[str, ...] = ("best",)
    data: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    key_file: Path | None = None
    workers: int = 1
    page: bool = True
    detector: str = "auto"
    min_face: int | None = None
    settings: Settings = field(default_factory=Settings)
    label_order: str | None = None


def serve(options: Options, say: Callable[[str], None]) -> int:
    """Serve until a signal ends it: requests in flight are answered first.

    Args:
        options: what is served, and where.
        say: is told the address once it is bound, and remarks.

    Returns:
        the exit code: 0, or 1 where the service could not start or lost its processes.

    Raises:
        MienError: where a model, the keys or the address cannot be used; nothing has started then.
    """
    load_models(options.models)  # so that what is wrong is told here, and not by every process
    find_detector(options.detector, threads=1)
    keys = Keys.read(options.key_file) if options.key_file else None
    page = options.page and options.workers == 1
    with ExitStack() as stack:
        listener = stack.enter_context(bound(options.host, options.port))
        host, port = listener.getsockname()[:2]
        say(f"serving {', '.join(load_names(options.models))} at http://{f'[{host}]' if ':' in host else host}:{port}")
        for remark in _remarks(options, keys, page):
            say(remark)
        if options.workers > 1:
            os.environ[FOLDER] = stack.enter_context(tempfile.TemporaryDirectory(prefix="mien-metrics-"))
        return _run(options, page, listener)


def _remarks(options: Options, keys: Keys | None, page: bool) -> list[str]:
    found = []
    if keys is None and options.host not in ("127.0.0.1", "::1", "localhost"):
        found.append("whoever reaches this address may ask: there are no keys (--api-key-file)")
    if options.page and options.workers > 1:
        found.append("the page needs one process and is left away; REST is served by all")
    if page and keys is not None:
        found.append("the page asks for an owner and a key of the key file")
    return found


def _run(options: Options, page: bool, listener: socket.socket) -> int:
    config = configured(partial(build, options, page), options.settings, options.workers, factory=True)
    if options.workers > 1:
        Multiprocess(config, sockets=[listener]).run()  # uvicorn starts those anew that die
        return 0
    server = uvicorn.Server(config)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn has stopped in order, and passes the signal on
        return 128 + signal.SIGINT
    return 0 if server.started else 1


def configured(app: Any, settings: Settings, workers: int = 1, **options: Any) -> uvicorn.Config:
    """How uvicorn is to serve an application.

    Args:
        app: the application, or with ``factory=True`` a function that makes it.
        settings: the limits.
        workers: how many processes.
        options: as uvicorn's, where they are to differ.
    """
    ours: dict[str, Any] = {
        "http": partial(TimeoutProtocol, settings.header_seconds),
        "log_config": LOG_CONFIG,
        "access_log": False,
        "workers": workers,
        "server_header": False,
        "proxy_headers": False,
        "ws": "none",
        "lifespan": "on",
        "limit_concurrency": settings.connections,
        "timeout_keep_alive": settings.idle_seconds,
        "timeout_graceful_shutdown": settings.grace_seconds,
        "timeout_worker_healthcheck": 30,
    }
    return uvicorn.Config(app, **(ours | options))


def build(options: Options, page: bool) -> FastAPI:
    """The application of one process.

    Raises:
        MienError: where a model or the keys cannot be used.
    """
    settings = options.settings
    # Each looking thread uses one processor: a detector with threads of its own would want them all for each.
    detector = find_detector(options.detector, threads=1)
    predictors = {
        name: Predictor(bundle, settings.threads, detector, max_pixels=settings.pixels, min_face=options.min_face)
        for name, bundle in load_models(options.models).items()
    }
    keys = Keys.read(options.key_file) if options.key_file else None
    app = create_app(predictors, settings, keys)
    return with_page(app, predictors, options, keys) if page else app


def with_page(app: FastAPI, predictors: dict[str, Predictor], options: Options, keys: Keys | None) -> FastAPI:
    """The application with the page at ``/``; where there are keys, an owner signs in with theirs.

    Raises:
        MissingExtraError: where gradio is not installed.
        DataError: where the data set cannot be read.
    """
    from mien.data import load_faces
    from mien.errors import require

    require("gradio", "serve")
    from mien.serving.page.app import build_page, mount_page

    faces = None if options.data is None else load_faces(options.data, label_order=options.label_order)
    page = build_page(predictors, faces)
    sign_in = None if keys is None else (lambda owner, key: keys.owner(key) == owner)
    return mount_page(app, page, "/", sign_in)


def load_names(models: Sequence[str]) -> list[str]:
    """The names under which the service offers these models.

    Raises:
        ServiceError: where two have the same name.
    """
    names = [_named(model)[0] for model in models]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ServiceError(f"two models are named {twice}", mend="Give one another name: --model NAME=MODEL.")
    return names


def load_models(models: Sequence[str]) -> dict[str, Bundle]:
    """The models, by their names.

    Raises:
        ServiceError: where two have the same name.
        ModelError: where one cannot be read.
    """
    return {name: load_bundle(_named(model)[1]) for name, model in zip(load_names(models), models, strict=True)}


def _named(model: str) -> tuple[str, str]:
    """NAME=MODEL, or a model whose name is its file's, or its run folder's."""
    name, mark, rest = model.partition("=")
    if mark and name and not Path(model).exists():
        return name, rest
    path = Path(model)
    return (path.parent.name if path.name == BEST and path.parent.name else path.stem), model


def bound(host: str, port: int) -> socket.socket:
    """A socket that listens at an address.

    Raises:
        ServiceError: where it cannot.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=2048)
    except (OSError, OverflowError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ServiceError(f"nothing can listen here ({why})", f"{host}:{port}", "Choose another --port.") from error
    # Connections inherit it. Without it the kernel holds an answer's body back until the client has acknowledged its
    # head, which takes 40 ms; asyncio sets it only on sockets that it made itself.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
