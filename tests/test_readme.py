"""The README says what results/ and the command line say."""

from __future__ import annotations

import re
from pathlib import Path

from typer.main import get_command

from mien.cli import app

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_shows_every_command_and_none_that_does_not_exist() -> None:
    commands = get_command(app).commands  # type: ignore[attr-defined]
    exist = {name for name in commands if name != "data"} | {f"data {name}" for name in commands["data"].commands}
    shown = set(re.findall(r"^\$ mien (data [a-z]+|[a-z-]+)", README, flags=re.M))
    assert shown == exist


def test_it_names_every_shipped_recipe() -> None:
    recipes = {path.stem for path in (ROOT / "src/mien/training/recipes").glob("*.yaml")}
    table = README.partition("## Recipes")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `([a-z-]+)`", table, flags=re.M)) == recipes
