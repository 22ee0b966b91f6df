"""Make notebooks/fer2013.ipynb from fer2013.py, whose cells begin with ``# %%``; with --execute, run it.

Usage: MIEN_DATA=D MIEN_IMAGENET=WEIGHTS python notebooks/make.py --execute

Without --execute the outputs that stand in the notebook are lost. Cells that begin with ``# %% [faces]`` show faces;
where these are a data set's (MIEN_DATA), their outputs are left out of the copy that is written.
"""

from __future__ import annotations

import argparse
import os
import re
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).resolve().parent
SOURCE, NOTEBOOK = HERE / "fer2013.py", HERE / "fer2013.ipynb"
CELL = re.compile(r"^# %%(?: \[(markdown|faces)\])?\n(.*?)(?=^# %%|\Z)", re.M | re.S)
LEFT_OUT = "Left out of this copy, as the faces are not ours to pass on. Run the cell to see them."
LIMIT = 1800
"""Seconds that a cell may take."""


def cells(text: str) -> list[tuple[str, str]]:
    """The source's cells: ``markdown``, ``code`` or ``faces`` (code that shows some), and the text."""
    return [
        (kind, re.sub(r"^# ?", "", body, flags=re.M).strip()) if kind == "markdown" else (kind or "code", body.strip())
        for kind, body in CELL.findall(text)
    ]


def build(text: str) -> NotebookNode:
    """The notebook without outputs."""
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}})
    for number, (kind, body) in enumerate(cells(text)):
        cell = nbformat.v4.new_markdown_cell(body) if kind == "markdown" else nbformat.v4.new_code_cell(body)
        cell.id = f"cell-{number}"
        if kind == "faces":
            cell.metadata["tags"] = ["faces"]
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


def leave_faces_out(notebook: NotebookNode) -> None:
    """Put a line in place of the outputs that show faces."""
    for cell in notebook.cells:
        if "faces" in cell.metadata.get("tags", []):
            cell.outputs = [nbformat.v4.new_output("stream", text=LEFT_OUT + "\n")]


def main() -> None:
    """Make the notebook, and run it where that is asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--execute", action="store_true")
    notebook = build(SOURCE.read_text(encoding="utf-8"))
    if parser.parse_args().execute:
        execute(notebook)
        if os.environ.get("MIEN_DATA"):
            leave_faces_out(notebook)
    nbformat.write(notebook, NOTEBOOK)


if __name__ == "__main__":
    main()
