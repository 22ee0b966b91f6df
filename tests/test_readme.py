"""The README is short; the documents show what the command line and results/ have."""

from __future__ import annotations

import re

from typer.main import get_command

from mien.cli import app
from support.documents import ROOT, commands, pages

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_it_is_short_and_has_one_image_and_both_tables_of_figures() -> None:
    assert len(README.splitlines()) <= 200
    assert len(re.findall(r"!\[", README)) == 1
    assert re.findall(r"<!-- results:(\w+) -->", README) == ["shipped", "peers"]


def test_the_documents_show_every_command_and_none_that_does_not_exist() -> None:
    known = get_command(app).commands  # type: ignore[attr-defined]
    exist = {name for name in known if name != "data"} | {f"data {name}" for name in known["data"].commands}
    texts = "\n".join(command.text for page in pages() for command in commands(page))
    assert set(re.findall(r"^mien (data [a-z]+|[a-z-]+)", texts, flags=re.M)) == exist


def test_the_page_of_recipes_describes_every_shipped_recipe() -> None:
    recipes = {path.stem for path in (ROOT / "src/mien/training/recipes").glob("*.yaml")}
    table = (ROOT / "docs/recipes.md").read_text(encoding="utf-8").partition("<!-- results:")[0]
    assert set(re.findall(r"^\| `([a-z-]+)`", table, flags=re.M)) == recipes
