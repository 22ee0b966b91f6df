"""benchmarks/, studies/ and tools/: the commands that results/ and the documents name, and the documents they make."""

from __future__ import annotations

import argparse
import importlib
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from typer.main import get_command

from benchmarks.peer_process import PEERS, PeerProcess
from benchmarks.report import command
from conftest import ROOT
from mien.cli import app
from mien.data import Faces

NAMED = re.compile(r"(?:-m |\b)((?:benchmarks|studies|tools)[./][a-z][\w./]*\w)")
IN_CODE = re.compile(r"`((?:mien|python) [^`]* -[^`]*)`")
MAKERS = ("analysis_page", "browser_page", "cards", "docs_tables", "leaderboard", "scale_plan")


class ParsedError(Exception):
    """The arguments were read, and nothing more is to happen."""


def recorded() -> Iterator[tuple[str, str]]:
    """The files of results/ and the commands that they name."""
    for path in sorted((ROOT / "results").glob("*.json")):
        found = json.loads(path.read_text())
        values = [found.get(key) for key in ("command", "command_line")] if isinstance(found, dict) else []
        yield from ((path.name, value) for value in values if isinstance(value, str))
    yield from (("leaderboard.md", text) for text in IN_CODE.findall((ROOT / "results/leaderboard.md").read_text()))


def parse(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read a command's arguments as it would itself, without running it."""
    words = shlex.split(text)
    if words[0] == "mien":
        get_command(app).commands[words[1]].make_context(words[1], words[2:])  # type: ignore[attr-defined]
        return
    assert words[:2] == ["python", "-m"], text
    read = argparse.ArgumentParser.parse_args

    def parse_only(parser: argparse.ArgumentParser) -> NoReturn:
        raise ParsedError(read(parser))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    monkeypatch.setattr(sys, "argv", words[2:])
    with pytest.raises(ParsedError):
        importlib.import_module(words[2]).main()


@pytest.mark.parametrize(("file", "text"), sorted(recorded()))
def test_a_command_that_results_name_parses(file: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parse(text, monkeypatch)


@pytest.mark.parametrize("text", ["python -m benchmarks.latency --no-such", "python -m studies.analysis"])
def test_a_wrong_command_does_not_parse(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit):
        parse(text, monkeypatch)


def test_every_script_that_a_document_names_exists() -> None:
    files = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "Makefile", "NOTICE", "pyproject.toml")]
    for folder in ("docs", "results", "src", "benchmarks", "studies", "tools"):
        files += [path for ending in ("md", "json", "py") for path in (ROOT / folder).rglob(f"*.{ending}")]
    named = {(name, path) for path in files for name in NAMED.findall(path.read_text(encoding="utf-8"))}
    assert len(named) > 100
    for name, path in named:
        script = ROOT / name if "/" in name else ROOT / f"{'/'.join(name.split('.')[:2])}.py"
        assert script.exists(), f"{path} names {name}"


def test_every_peer_that_a_benchmark_starts_exists() -> None:
    text = "".join(path.read_text() for path in (ROOT / "benchmarks").glob("*.py"))
    started = set(re.findall(r'"(\w+_(?:train|predict)\.py)"', text))
    assert started == {path.name for path in PEERS.glob("*_*.py")}


@pytest.mark.parametrize("name", MAKERS)
def test_a_document_is_what_the_results_say(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, "--check"])
    importlib.import_module(f"tools.{name}").main()


def test_the_page_of_commands_is_what_the_help_says() -> None:
    """In a process of its own, since typer reads the width of the terminal once."""
    words = [sys.executable, "-m", "tools.commands_page", "--check"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_peer_answers_requests(drawn: Faces, tmp_path: Path) -> None:
    np.savez(tmp_path / "faces.npz", images=drawn.images[:70])
    peer = PeerProcess("onnx_predict.py", "tiny", tmp_path / "faces.npz", 1)
    assert peer.read() == {}
    assert len(peer.request('{"batch": 2, "calls": 3, "first": 1}')["seconds"]) == 3
    assert len(peer.request('{"all": true}')["predictions"]) == 70
    assert peer.finish()["peak_bytes"] > 0


def test_a_report_names_its_command_without_paths(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["--data", "/a/fer.parquet", "--weights", "/b/w.h5", "--work", "/c", "--seeds", "2", "--json", "/d/x.json"]
    monkeypatch.setattr(sys, "argv", ["load.py", *words])
    expected = "python -m benchmarks.load --data D --weights w.h5 --seeds 2 --json results/x.json"
    assert command("benchmarks.load") == expected
