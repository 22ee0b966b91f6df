"""The command line: each command reads its arguments, calls one public function and prints.

Commands live in one module a topic; nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import errno
import sys
from typing import Any

import typer
from typer.core import TyperGroup

from mien.cli import card as card_commands
from mien.cli import compare as compare_commands
from mien.cli import data as data_commands
from mien.cli import evaluate as judge_commands
from mien.cli import export as export_commands
from mien.cli import predict as predict_commands
from mien.cli import report as report_commands
from mien.cli import score as score_commands
from mien.cli import serve as serve_commands
from mien.cli import sweep as sweep_commands
from mien.cli import train as train_commands
from mien.cli import video as video_commands
from mien.cli.console import error_line, in_a_group
from mien.cli.signals import Terminated, terminable
from mien.errors import MienError


class Commands(TyperGroup):
    """Says that Ctrl-C was heard; Typer would only set the exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            error_line("interrupted")
            raise typer.Exit(130) from error


app = typer.Typer(
    name="mien",
    cls=Commands,
    help="Facial expression recognition that you can trust.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(train_commands.demo)
app.add_typer(data_commands.app, name="data")
app.command()(train_commands.train)
app.command()(sweep_commands.sweep)
app.command()(train_commands.summary)
app.command()(judge_commands.evaluate)
app.command()(compare_commands.compare)
app.command()(predict_commands.predict)
app.command(name="fetch-detector")(predict_commands.fetch_detector)
app.command()(video_commands.video)
app.command()(judge_commands.show)
app.command()(report_commands.report)
app.command()(export_commands.export)
app.command()(score_commands.score)
app.command()(serve_commands.serve)
app.command()(card_commands.card)
app.command()(card_commands.push)
app.command()(card_commands.pull)


def main() -> None:
    """Run a command; what mien or the system refuses becomes one line on stderr and the exit code of its error."""
    try:
        with terminable():
            app()
    except MienError as error:
        error_line(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        error_line("interrupted")
        sys.exit(130)
    except Terminated:
        if not in_a_group():  # else whoever started the group has ended it, and says why
            error_line("terminated")
        sys.exit(143)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(141)
    except OSError as error:
        error_line(_refused(error))
        sys.exit(MienError.exit_code)


_SPACE = "Free some space and run it again."
_PLACE = "Choose another place, or mend its permissions."
_MEND = {
    errno.ENOSPC: _SPACE, errno.EDQUOT: _SPACE, errno.EACCES: _PLACE, errno.EPERM: _PLACE, errno.EROFS: _PLACE,
    errno.ENOTDIR: "Choose another place.", errno.EEXIST: "Choose another place.",
}  # fmt: skip


def _refused(error: OSError) -> MienError:
    """What the system refused, of which file, and how to mend it where that is known."""
    return MienError(error.strerror or str(error), error.filename, _MEND.get(error.errno or 0))
