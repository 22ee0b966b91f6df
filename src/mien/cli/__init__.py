"""The command line: each command reads its arguments, calls one public function and prints.

Commands live in one module a topic; nothing heavy is imported before a command runs.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from typing import Any

import typer
from typer.core import TyperGroup

from mien.cli import card as card_commands
from mien.cli import compare as compare_commands
from mien.cli import crop as crop_commands
from mien.cli import data as data_commands
from mien.cli import evaluate as evaluate_commands
from mien.cli import export as export_commands
from mien.cli import predict as predict_commands
from mien.cli import report as report_commands
from mien.cli import score as score_commands
from mien.cli import serve as serve_commands
from mien.cli import sweep as sweep_commands
from mien.cli import train as train_commands
from mien.cli import video as video_commands
from mien.cli.console import error_line, in_a_group
from mien.cli.options import examples_text
from mien.cli.signals import Terminated, terminable
from mien.errors import MienError


class Commands(TyperGroup):
    """Reports Ctrl-C; Typer would only set the exit code."""

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


def _add(panel: str, command: Callable[..., None], *examples: str) -> None:
    """Add a command to a panel of ``mien --help``; its own help ends with examples, which a test runs."""
    app.command(rich_help_panel=panel, epilog=examples_text(examples))(command)


_add(
    "Predict", predict_commands.predict,
    "mien predict photo.jpg", "mien predict photos --csv predictions.csv --annotate annotated",
)  # fmt: skip
_add("Predict", video_commands.video, "mien video clip.mp4 --csv predictions.csv --annotate annotated.mp4")
_add("Train and evaluate", train_commands.demo, "mien demo --out demo")
_add("Train and evaluate", train_commands.train, "mien train toy --data faces.csv --out runs/mine --set batch_size=64")
_add(
    "Train and evaluate", sweep_commands.sweep,
    "mien sweep toy --space space.yaml --data faces.csv --out study --trials 2",
)  # fmt: skip
_add("Train and evaluate", train_commands.summary, "mien summary article", "mien summary best --plot network.svg")
_add(
    "Train and evaluate", evaluate_commands.evaluate,
    "mien evaluate best --data faces.csv --split PublicTest", "mien evaluate runs/mine --data faces.csv --out metrics",
    "mien evaluate best --photos photos-by-expression",
)  # fmt: skip
_add("Train and evaluate", compare_commands.compare, "mien compare best tiny --data faces.csv")
_add("Train and evaluate", report_commands.report, "mien report best --data faces.csv --out report.html")
_add("Train and evaluate", evaluate_commands.show, "mien show best face.png --index 3 --data faces.csv")
data_commands.app.command(epilog=examples_text(["mien data crop photos-by-expression crops"]))(crop_commands.crop)
app.add_typer(data_commands.app, name="data", rich_help_panel="Data")
_add("Serve and scale", serve_commands.serve, "mien serve --model best --port 8000")
_add("Serve and scale", score_commands.score, "mien score photos predictions.parquet --model tiny --workers 1")
_add("Share", export_commands.export, "mien export best best.onnx")
_add("Share", card_commands.card, "mien card best --out card.md")
_add("Share", card_commands.push, "mien push runs/mine owner/name --license apache-2.0")
_add("Share", card_commands.pull, "mien pull owner/name --out pulled")


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
        if not in_a_group():  # else the launcher ended it, and reports why
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
