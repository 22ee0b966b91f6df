"""The tab Report: what ``mien report`` makes, made on request and shown in the page."""

from __future__ import annotations

import tempfile
import threading
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from mien.errors import require
from mien.serving.page.common import asset, refuse
from mien.serving.page.data import Store
from mien.serving.page.html import data_uri


class Reports:
    """Reports as HTML pages, each made once; one at a time, as each takes all processors.

    Args:
        store: the data and the models.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self._made: dict[tuple[str, str], str] = {}
        self._lock = threading.Lock()

    def page(self, model: str, split: str) -> str:
        """The whole page of a model, with the faces of a split.

        Raises:
            MissingExtraError: where what ``mien report`` needs is not installed.
            MienError: where no split can be shown.
        """
        for module in ("torch", "jinja2", "sklearn", "matplotlib"):
            require(module, "train")
        make: Any = require("mien.evaluation.report.page", "train").make_report
        with self._lock:
            if (model, split) not in self._made:
                found = make(self.store.models[model].bundle, self.store.data, split)
                with tempfile.TemporaryDirectory() as folder:
                    written = found.write(Path(folder) / "report.html")
                    self._made[model, split] = written.read_text(encoding="utf-8")
            return self._made[model, split]


def framed(page: str, name: str) -> str:
    """A page within the page, and a link that saves it. It runs its own scripts, but cannot reach what is around it."""
    link, name = data_uri(page.encode(), "text/html"), escape(name)
    return (
        f'<p class="mien-links"><a class="mien-plain" download="{name}.html" href="{link}">Download report</a></p>'
        f'<iframe class="mien-report" title="{name}" sandbox="allow-scripts" srcdoc="{escape(page)}"></iframe>'
    )


def report_tab(store: Store) -> None:
    """Lay out the tab and wire it."""
    reports, names = Reports(store), list(store.models)
    gr.HTML(asset("report.html"), padding=False)
    with gr.Row(equal_height=True):
        model = gr.Dropdown(names, value=names[0], label="Model", min_width=140)
        split = gr.Dropdown(store.splits, value=store.splits[0], label="Split", min_width=140)
        make = gr.Button("Create report", variant="primary", min_width=160)
    shown = gr.HTML(elem_id="mien-report", padding=False)

    def write(model: str, split: str) -> str:
        with refuse():
            return framed(reports.page(model, split), f"report-{model}-{split}")

    make.click(write, [model, split], shown, api_visibility="private", show_progress="full")
