"""What every command shares: printing JSON, tables and errors."""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from mien.errors import MienError, printable

if TYPE_CHECKING:
    from rich.progress import Progress

_TOLD = "MIEN_TOLD"
"""The environment variable of a file that the first process of a group to report an error creates."""

console = Console(highlight=False, soft_wrap=True)
"""Where results go (stdout)."""

stderr = Console(stderr=True, highlight=False, soft_wrap=True)
"""The console of progress, notes and errors."""


def error_line(error: MienError | str) -> None:
    """Print an error as one line on stderr; of processes that train together only the first to meet one does."""
    if in_a_group() and not _claimed(os.environ[_TOLD]):
        return
    line = printable(" ".join(str(error).split()))
    stderr.print(f"error: {line}", style="red" if sys.stderr.isatty() else None, markup=False)


def in_a_group() -> bool:
    """Whether this is one of the processes that ``mien train`` started to train together."""
    return bool(os.environ.get(_TOLD))


def _claimed(path: str) -> bool:
    try:
        Path(path).touch(exist_ok=False)
    except OSError:
        return False
    return True


def print_json(value: Any) -> None:
    """Print one JSON document on stdout, and nothing else."""
    sys.stdout.write(json.dumps(_printable(value), indent=2, allow_nan=False) + "\n")


def _printable(value: Any) -> Any:
    if isinstance(value, dict):
        return {_printable(key): _printable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(one) for one in value]
    return printable(value) if isinstance(value, str) else value


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], text: int = 1) -> None:
    """Print a table; the first ``text`` columns are text, the others are figures.

    Nothing is cut: cells fold on a terminal that is too narrow, and in a file or a pipe lines are as long as it takes.
    """
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    for position, column in enumerate(columns):
        table.add_column(escape(column), justify="left" if position < text else "right", overflow="fold")
    for row in rows:
        table.add_row(*[escape(printable(str(cell))) for cell in row])
    wide = console if console.is_terminal else Console(highlight=False, soft_wrap=True, width=10_000)
    wide.print(table)


def quiet_libraries() -> None:
    """Silence the decoders' messages on damaged files and OpenCV's on its engine."""
    warnings.filterwarnings("ignore", module="PIL")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")


def progress_bar() -> Progress:
    """A bar with rate and time left, on a terminal only."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: object) -> Text:
            speed = getattr(task, "speed", None)
            return Text("" if speed is None else f"{speed:,.1f}/s")

    parts = (BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    return Progress(*parts, console=stderr, transient=True, disable=not sys.stderr.isatty())
