"""Make notebooks/fer2013.ipynb from fer2013.py, whose cells begin with ``# %%``; with --execute, run it.

Usage: MIEN_DATA=D MIEN_IMAGENET=WEIGHTS python notebooks/make.py --execute

Without --execute the outputs that stand in the notebook are lost.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).resolve().parent
SOURCE, NOTEBOOK = HERE / "fer2013.py", HERE / "fer2013.ipynb"
CELL = re.compile(r"^# %%(?: \[(markdown)\])?\n(.*?)(?=^# %%|\Z)", re.M | re.S)
LIMIT = 1800
"""Seconds that a cell may take."""


def cells(text: str) -> list[tuple[str, str]]:
    """The source's cells: ``markdown`` or ``code``, and the text."""
    return [
        ("markdown", re.sub(r"^# ?", "", body, flags=re.M).strip()) if kind else ("code", body.strip())
        for kind, body in CELL.findall(text)
    ]


def build(text: str) -> NotebookNode:
    """The notebook without outputs."""
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    for number, (kind, body) in enumerate(cells(text)):
        cell = nbformat.v4.new_markdown_cell(body) if kind == "markdown" else nbformat.v4.new_code_cell(body)
        cell.id = f"cell-{number}"
        notebook.cells.append(cell)
    return notebook


def execute(notebook: NotebookNode) -> NotebookNode:
    """Run every cell, in the notebook's folder.

    Raises:
        CellExecutionError: at the first cell that fails.
    """
    client = NotebookClient(
        notebook,
        timeout=LIMIT,
        kernel_name="python3",
        resources={"metadata": {"path": str(HERE)}},
        record_timing=False,
        store_widget_state=False,
    )
    return client.execute()


def main() -> None:
    """Make the notebook, and run it where that is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--execute", action="store_true")
    notebook = build(SOURCE.read_text(encoding="utf-8"))
    if parser.parse_args().execute:
        execute(notebook)
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
