"""``mien data ...``: look at, convert, draw and fetch data sets."""

from __future__ import annotations

import typer

app = typer.Typer(help="Look at, convert, draw and fetch data sets.", no_args_is_help=True)
