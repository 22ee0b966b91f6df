"""The command line: each command reads its arguments, calls one public function and prints.

Commands live in one module a topic; nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import sys

import typer

from mien.cli import data as data_commands
from mien.cli.console import error_line
from mien.errors import MienError

app = typer.Typer(
    name="mien",
    help="Facial expression recognition that you can trust.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(data_commands.app, name="data")


def main() -> None:
    """Run a command; what mien refuses becomes one line on stderr and the exit code of its error."""
    try:
        app()
    except MienError as error:
        error_line(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        error_line("interrupted")
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
