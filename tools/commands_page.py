"""Make docs/commands.md: every command's --help, and what it prints on drawn faces.

Usage: python -m tools.commands_page [--run [--keep NAME ...] | --check]

Without an option it makes the help anew and keeps what commands printed; with --run it runs them all again, in a
temporary folder, which takes some minutes; with --check it only compares the help, and exits 1 where the page differs.
"""

import argparse
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ |= {"TERMINAL_WIDTH": "100", "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}  # before typer is imported

from typer.main import get_command
from typer.testing import CliRunner

from benchmarks.report import ROOT
from mien.cli import app
from tools.output import update

PAGE = ROOT / "docs" / "commands.md"
sys.path.insert(0, str(ROOT / "tests"))
HEAD = """# Every command

Made by `python -m tools.commands_page --run`: the outputs are those of the commands, run in this order in one folder,
on drawn faces, `photo.jpg` (matplotlib's sample photo) and `clip.mp4` (ten frames of it). A test repeats them.

DATA is a file or folder in any [format](datasets.md), by default the one named in `MIEN_DATA`. `--json` prints one JSON
document. An error is one line: what is wrong, where, and how to fix it, with exit code 2. Ctrl-C ends a command with
exit code 130 and leaves complete files.
"""
SESSIONS = {
    "data toy": ["mien data toy drawn --n 700"],
    "data info": ["mien data info drawn"],
    "data check": ["mien data check drawn --out check"],
    "data convert": ["mien data convert drawn faces --to folder"],
    "data examples": ["mien data examples drawn examples.png", "mien data examples drawn . --export 3"],
    "data ferplus": ["mien data ferplus drawn"],
    "data fetch": ["mien data fetch kaggle"],
    "demo": ["mien demo"],
    "train": ["mien train toy --data drawn --out runs/toy --set batch_size=16 --set phases.0.epochs=8"],
    "summary": ["mien summary toy"],
    "evaluate": ["mien evaluate runs/toy --data drawn --split PrivateTest"],
    "compare": ["mien compare runs/toy best --data drawn --split PrivateTest"],
    "predict": [
        "mien predict photo.jpg",
        "mien predict faces/test/happy --model runs/toy --detector none --csv happy.csv",
        "mien predict photo.jpg --json",
    ],
    "video": ["mien video clip.mp4 --csv clip.csv --plot clip.png"],
    "show": ["mien show runs/toy shown.png --data drawn --index 3"],
    "report": ["mien report runs/toy --data drawn --split PrivateTest --out report.html"],
    "export": ["mien export runs/toy toy.onnx"],
    "serve": ["mien serve --model runs/toy --no-page"],
}
"""In the order in which they run; for any other command the page has only the help."""


def names():
    """Every command's name, those of ``mien data`` first."""
    commands = get_command(app).commands
    inner = [f"data {name}" for name in commands["data"].commands]
    every = inner + [name for name in commands if name != "data"]
    return sorted(every, key=lambda name: list(SESSIONS).index(name) if name in SESSIONS else len(SESSIONS))


def helped(name):
    """What ``--help`` prints."""
    output = CliRunner().invoke(app, [*name.split(), "--help"], prog_name="mien").output
    return "\n".join(line.rstrip() for line in output.strip().splitlines())


def ran(command, folder):
    """What a command prints: stderr, then stdout, as the tests read them."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("KAGGLE", "MIEN_"))}
    environment |= {"HOME": str(folder / "home"), "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "160"}
    words = [sys.executable, "-m", "mien", *shlex.split(command)[1:]]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(words, cwd=folder, env=environment, **pipes)
    if command.startswith("mien serve"):
        time.sleep(20)
        process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=900)
    if process.returncode not in (0, 2, -signal.SIGTERM):
        sys.exit(f"{command} ended with {process.returncode}: {err}")
    lines = [line.rstrip() for line in (err + out).splitlines() if line.strip()]
    return "\n".join([lines[0], "…"] if command.startswith("mien serve") else lines)


def run_sessions(keep):
    """Every session's block, by name, but for those to be kept."""
    from support.documents import write_pictures

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "mien"
        (folder / "home").mkdir(parents=True)
        write_pictures(folder)
        return {
            name: "\n\n".join(f"$ {command}\n{ran(command, folder)}" for command in commands)
            for name, commands in SESSIONS.items()
            if name not in keep
        }


def kept_sessions():
    """The blocks of the page."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    found = re.findall(r"^## mien ([a-z -]+)\n\n```console\n(.*?)\n```", text, flags=re.M | re.S)
    return dict(found)


def page(sessions):
    parts = [HEAD]
    for name in names():
        block = f"```console\n{sessions[name]}\n```\n\n" if name in sessions else ""
        parts.append(f"## mien {name}\n\n{block}```text\n{helped(name)}\n```\n")
    return "\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--run", action="store_true", help="run all commands again")
    which.add_argument("--check", action="store_true", help="write nothing; exit 1 where the help differs")
    parser.add_argument("--keep", action="append", default=[], help="a command that --run leaves as it stands")
    options = parser.parse_args()
    text = page(kept_sessions() | (run_sessions(options.keep) if options.run else {}))
    update(PAGE, text, options.check, __spec__.name)


if __name__ == "__main__":
    main()
