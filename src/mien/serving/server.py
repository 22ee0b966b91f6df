"""The server process: it loads the models, binds a socket, and runs one worker or several."""

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

from mien.errors import ServiceError, require
from mien.inference import Predictor
from mien.inference.detection import find_detector
from mien.models.bundle import BEST
from mien.models.load import load_bundle
from mien.models.output import Prior, with_output
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
        models: each a shipped model's name, a file or a run folder; NAME=MODEL gives it another name.
        data: the data set that the page shows; None for none.
        host: the address to listen on.
        port: the port; 0 for a free one.
        key_file: the file of the API keys; None accepts every request.
        workers: how many processes.
        page: whether the page is served as well.
        detector: the face detector: fast or accurate.
        min_face: as :class:`mien.inference.Predictor`'s, where a request has none.
        settings: the limits of each process.
        label_order: as that of :func:`mien.load_faces`, for the data set.
        output: as :class:`mien.inference.Predictor`'s.
        prior: as that.
    """

    models: tuple[str, ...] = ("best",)
    data: Path | None = None
    host: str = "127.0.0.1"
    port: int = 8000
    key_file: Path | None = None
    workers: int = 1
    page: bool = True
    detector: str = "fast"
    min_face: int | None = None
    settings: Settings = field(default_factory=Settings)
    label_order: str | None = None
    output: str | None = None
    prior: Prior | None = None


def serve(options: Options, report: Callable[[str], None]) -> int:
    """Serve until a signal ends it: requests in flight are answered first.

    Args:
        options: what is served, and where.
        report: called with the address once it is bound, and with warnings.

    Returns:
        the exit code: 0, or 1 where the service could not start or lost its processes.

    Raises:
        MienError: where a model, the keys or the address cannot be used; nothing has started then.
    """
    models = parse_models(options.models)
    for model in models.values():  # so that an error appears here, and not in every process
        with_output(load_bundle(model), options.output, options.prior)
    find_detector(options.detector, threads=1)
    keys = Keys.read(options.key_file) if options.key_file else None
    page = options.page and options.workers == 1
    with ExitStack() as stack:
        listener = stack.enter_context(listen(options.host, options.port))
        host, port = listener.getsockname()[:2]
        report(f"serving {', '.join(models)} at http://{f'[{host}]' if ':' in host else host}:{port}")
        if keys is None and options.host not in ("127.0.0.1", "::1", "localhost"):
            report("everyone who reaches this address can send requests: there are no keys (--api-key-file)")
        if options.page and not page:
            report("the page needs one process and is not served; all processes serve REST")
        if page and keys is not None:
            report("the page asks for an owner and a key of the key file")
        if options.workers > 1:
            os.environ[FOLDER] = stack.enter_context(tempfile.TemporaryDirectory(prefix="mien-metrics-"))
        return _run(options, page, listener)


def _run(options: Options, page: bool, listener: socket.socket) -> int:
    config = uvicorn_config(partial(build_app, options, page), options.settings, options.workers, factory=True)
    if options.workers > 1:
        Multiprocess(config, sockets=[listener]).run()  # uvicorn restarts those that die
        return 0
    server = uvicorn.Server(config)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:  # uvicorn has stopped in order, and passes the signal on
        return 128 + signal.SIGINT
    return 0 if server.started else 1


def uvicorn_config(app: Any, settings: Settings, workers: int = 1, **options: Any) -> uvicorn.Config:
    """How uvicorn serves an application.

    Args:
        app: the application, or with ``factory=True`` a function that makes it.
        settings: the limits.
        workers: how many processes.
        options: uvicorn's, in place of ours.
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


def build_app(options: Options, page: bool) -> FastAPI:
    """The application of one process, with the page at ``/``, where key owners sign in, or without it.

    Raises:
        MissingExtraError: where the page needs gradio and it is not installed.
        MienError: where a model, the keys or the data set cannot be used.
    """
    settings = options.settings
    detector = find_detector(options.detector, threads=1)  # one thread of the pool uses one processor
    predictors = {
        name: Predictor(
            model, settings.threads, detector, max_pixels=settings.pixels, min_face=options.min_face,
            output=options.output, prior=options.prior,
        )
        for name, model in parse_models(options.models).items()
    }  # fmt: skip
    keys = Keys.read(options.key_file) if options.key_file else None
    app = create_app(predictors, settings, keys)
    if not page:
        return app
    from mien.data import load_faces

    require("gradio", "serve")
    from mien.serving.page.app import build_page, mount_page

    faces = None if options.data is None else load_faces(options.data, label_order=options.label_order)
    sign_in = None if keys is None else (lambda owner, key: keys.owner(key) == owner)
    return mount_page(app, build_page(predictors, faces), "/", sign_in)


def parse_models(models: Sequence[str]) -> dict[str, str]:
    """The models by the names under which the service offers them: NAME=MODEL, or the file's or run folder's name.

    Raises:
        ServiceError: where two have the same name.
    """
    found: dict[str, str] = {}
    for model in models:
        path = Path(model)
        name, mark, rest = model.partition("=")
        if mark and name and not path.exists():
            model = rest
        else:
            name = path.parent.name if path.name == BEST and path.parent.name else path.stem
        if name in found:
            raise ServiceError(f"two models are named {name}", mend="Give one another name: --model NAME=MODEL.")
        found[name] = model
    return found


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on an address.

    Raises:
        ServiceError: where it cannot.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=2048)
    except (OSError, OverflowError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise ServiceError(f"cannot listen here ({why})", f"{host}:{port}", "Choose another --port.") from error
    # Connections inherit it. Without it the kernel delays an answer's body until the client has acknowledged its head,
    # which takes 40 ms; asyncio sets it only on sockets that it made itself.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
