"""``mien serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mien.cli.console import stderr
from mien.cli.data import LabelOrderName
from mien.cli.evaluate import MIN_FACE
from mien.cli.signals import leave_sigterm


def serve(
    model: Annotated[
        list[str] | None,
        typer.Option("--model", metavar="[NAME=]MODEL", help="A model; may be repeated. The first is the default."),
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", metavar="D", help="A data set for the page.")] = None,
    host: Annotated[str, typer.Option("--host", help="The address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port; 0: a free one.")] = 8000,
    api_key_file: Annotated[
        Path | None, typer.Option("--api-key-file", metavar="F", help="Who may ask: a line OWNER KEY each.")
    ] = None,
    workers: Annotated[int, typer.Option("--workers", min=1, help="Processes.")] = 1,
    threads: Annotated[int, typer.Option("--threads", min=0, help="Threads of each process; 0: all cores.")] = 0,
    detector: Annotated[str, typer.Option("--detector", help="auto, centerface or yunet.")] = "auto",
    min_face: Annotated[int | None, typer.Option("--min-face", metavar="PIXELS", min=1, help=MIN_FACE)] = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Serve the page beside REST.")] = True,
    max_body: Annotated[int, typer.Option("--max-body", min=1, help="Bytes of a request.")] = 20_000_000,
    max_held: Annotated[int, typer.Option("--max-held", min=1, help="Bytes of all that wait.")] = 256_000_000,
    max_pixels: Annotated[int, typer.Option("--max-pixels", min=1, help="Pixels of an image.")] = 40_000_000,
    max_images: Annotated[int, typer.Option("--max-images", min=1, help="Images of a request.")] = 32,
    queue: Annotated[int, typer.Option("--queue", min=1, help="Images that wait for a model; more get 429.")] = 256,
    timeout: Annotated[float, typer.Option("--timeout", min=0.01, help="Seconds until the answer.")] = 30.0,
    header_timeout: Annotated[float, typer.Option("--header-timeout", min=0.1, help="Seconds for the head.")] = 10.0,
    body_timeout: Annotated[float, typer.Option("--body-timeout", min=0.1, help="Seconds for the body.")] = 30.0,
    grace: Annotated[int, typer.Option("--grace", min=1, help="Seconds to finish requests when stopped.")] = 30,
    rate: Annotated[float, typer.Option("--rate", min=0, help="Requests a second of each key; 0: no limit.")] = 0.0,
    burst: Annotated[int, typer.Option("--burst", min=1, help="Requests at once within the rate.")] = 20,
    connections: Annotated[int, typer.Option("--connections", min=1, help="Connections of each process.")] = 1000,
    cors: Annotated[
        list[str] | None, typer.Option("--cors", metavar="ORIGIN", help="A web origin that may ask; may be repeated.")
    ] = None,
    label_order: LabelOrderName = None,
) -> None:
    """Serve models by REST, under /v1, and a page to try them on. Ctrl-C or SIGTERM ends it in order."""
    from mien.cli.console import quiet_libraries
    from mien.errors import require

    quiet_libraries()
    leave_sigterm()
    for module in ("fastapi", "uvicorn", "python_multipart", "prometheus_client"):
        require(module, "serve")
    from mien.serving.server import Options
    from mien.serving.server import serve as run
    from mien.serving.settings import Settings

    settings = Settings(
        max_body, max_held, max_pixels, max_images, queue, timeout, header_timeout, body_timeout,
        grace_seconds=grace, rate=rate, burst=burst, connections=connections, threads=threads,
        origins=tuple(cors or ()),
    )  # fmt: skip
    models = tuple(model or ["best"])
    options = Options(models, data, host, port, api_key_file, workers, page, detector, min_face, settings, label_order)
    code = run(options, lambda line: stderr.print(line, markup=False))
    if code:
        raise typer.Exit(code)
