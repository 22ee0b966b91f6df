"""The command line: each command reads its arguments, calls one public function and prints.

Commands live in one module a topic; nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import sys

import typer

from mien.cli import card as card_commands
from mien.cli import compare as compare_commands
from mien.cli import data as data_commands
from mien.cli import export as export_commands
from mien.cli import judge as judge_commands
from mien.cli import predict as predict_commands
from mien.cli import report as report_commands
from mien.cli import score as score_commands
from mien.cli import serve as serve_commands
from mien.cli import train as train_commands
from mien.cli import video as video_commands
from mien.cli.console import error_line
from mien.errors import MienError

app = typer.Typer(
    name="mien",
    help="Facial expression recognition that you can trust.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(train_commands.demo)
app.add_typer(data_commands.app, name="data")
app.command()(train_commands.train)
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
