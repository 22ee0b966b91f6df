"""``mien serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.console import quiet_libraries, stderr
from mien.cli.options import LabelOrderName, MinFace, OutputName, Prior
from mien.cli.signals import leave_sigterm
from mien.emotions import Output
from mien.errors import require


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="[NAME=]MODEL", help="A model to serve; repeatable. The first is the default."),
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="DATA", help="The data set that the web page shows.")
    ] = None,
    host: Annotated[str, typer.Option("--host", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0 for a free one.")] = 8000,
    api_key_file: Annotated[
        Path | None, typer.Option("--api-key-file", metavar="FILE", help="API keys, one OWNER KEY per line.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Worker processes.")] = 1,
    threads: Annotated[int, typer.Option("--threads", min=0, help="Threads per process; 0 for all cores.")] = 0,
    detector: Annotated[str, typer.Option("--detector", help="The face detector: fast or accurate.")] = "fast",
    min_face: MinFace = None,
    output: OutputName = Output.DEFAULT,
    prior: Prior = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Serve the web page beside the REST API.")] = True,
    max_body: Annotated[int, typer.Option("--max-body", min=1, help="Maximum bytes per request.")] = 20_000_000,
    max_memory: Annotated[
        int, typer.Option("--max-memory", min=1, help="Maximum bytes of all waiting requests.")
    ] = 256_000_000,
    max_pixels: Annotated[int, typer.Option("--max-pixels", min=1, help="Maximum pixels per image.")] = 40_000_000,
    max_images: Annotated[int, typer.Option("--max-images", min=1, help="Maximum images per request.")] = 32,
    queue: Annotated[int, typer.Option("--queue", min=1, help="Maximum images waiting per model; more get 429.")] = 256,
    timeout: Annotated[float, typer.Option("--timeout", min=0.01, help="Maximum seconds per request.")] = 30.0,
    header_timeout: Annotated[
        float, typer.Option("--header-timeout", min=0.1, help="Maximum seconds to receive the headers.")
    ] = 10.0,
    body_timeout: Annotated[
        float, typer.Option("--body-timeout", min=0.1, help="Maximum seconds to receive the body.")
    ] = 30.0,
    grace: Annotated[int, typer.Option("--grace", min=1, help="Seconds to finish open requests on shutdown.")] = 30,
    rate: Annotated[float, typer.Option("--rate", min=0, help="Requests per second and key; 0 for no limit.")] = 0.0,
    burst: Annotated[int, typer.Option("--burst", min=1, help="Requests allowed in a burst.")] = 20,
    connections: Annotated[int, typer.Option("--connections", min=1, help="Maximum connections per process.")] = 1000,
    cors: Annotated[
        list[str] | None, typer.Option("--cors", metavar="ORIGIN", help="An allowed web origin (CORS); repeatable.")
    ] = None,
    label_order: LabelOrderName = None,
) -> None:
    """Serve models: a REST API under /v1 and a web page. Ctrl-C or SIGTERM shuts it down gracefully."""
    quiet_libraries()
    leave_sigterm()
    for module in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        require(module, "serve")
    from mien.serving.server import Options
    from mien.serving.server import serve as run
    from mien.serving.settings import Settings

    settings = Settings(
        max_body, max_memory, max_pixels, max_images, queue, timeout, header_timeout, body_timeout,
        grace_seconds=grace, rate=rate, burst=burst, connections=connections, threads=threads,
        origins=tuple(cors or ()),
    )  # fmt: skip
    models = tuple(model or ["best"])
    options = Options(
        models, data, host, port, api_key_file, workers, page, detector, min_face, settings, label_order, output, prior
    )
    code = run(options, lambda line: stderr.print(line, markup=False))
    if code:
        raise typer.Exit(code)
