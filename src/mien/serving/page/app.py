"""The page: predictions for your images and for a data set, and two models compared. Gradio Blocks, all local.

Nothing is requested from another host: fonts are the system's, scripts and styles come with Gradio or this folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import gradio as gr
from fastapi import FastAPI

from mien.data.faces import Faces
from mien.errors import ModelError
from mien.inference.predictor import Predictor
from mien.serving.page.common import asset
from mien.serving.page.compare import compare_tab
from mien.serving.page.data import Store
from mien.serving.page.explore import explore_tab
from mien.serving.page.html import notice
from mien.serving.page.predict import predict_tab
from mien.serving.page.report import report_tab

TITLE = "mien: facial expressions"
_FONT = ("system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "DejaVu Sans", "sans-serif")
_MONO = ("ui-monospace", "Consolas", "DejaVu Sans Mono", "monospace")
_DATA = "This tab shows the faces of a data set. Start the service with --data to use it."
_PAIR = "This tab compares two models. Start the service with --data and with --model twice to use it."


def build_page(models: Mapping[str, Predictor], data: Faces | None = None) -> gr.Blocks:
    """The page, to be mounted by :func:`mount_page`.

    Args:
        models: the models that it offers, by name; the first is chosen until another is.
        data: the faces to explore; without them the page has photos only.

    Raises:
        ModelError: where there is no model.
    """
    if not models:
        raise ModelError("the page needs a model", mend="Name one with --model.")
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    page: gr.Blocks
    with gr.Blocks(title=TITLE, fill_width=False) as page:
        gr.HTML(asset("head.html"), js_on_load=asset("head.js"), padding=False)
        with gr.Tabs():
            with gr.Tab("Predict", id="predict"):
                predict_tab(models)
            _data_tabs(models, data)
    page.queue(default_concurrency_limit=4, api_open=False)
    return page


def _data_tabs(models: Mapping[str, Predictor], data: Faces | None) -> None:
    store = None if data is None or not len(data) else Store(models, data)
    with gr.Tab("Explore", id="explore") as explore:
        explore_tab(store, explore) if store else gr.HTML(notice(_DATA))
    with gr.Tab("Report", id="report"):
        report_tab(store) if store else gr.HTML(notice(_DATA))
    with gr.Tab("Compare", id="compare") as compare:
        compare_tab(store, compare) if store and len(models) > 1 else gr.HTML(notice(_PAIR))


def mount_page(
    app: FastAPI, page: gr.Blocks, path: str = "/", sign_in: Callable[[str, str], bool] | None = None
) -> FastAPI:
    """Put the page onto an application, after its other routes, with our theme and without any of Gradio's extras.

    Gradio's own upload is closed (a limit of one byte): images come inside of messages and stay in memory. With
    ``sign_in`` the page asks for an owner and a key, and lets in whom it approves of.
    """
    mounted: FastAPI = gr.mount_gradio_app(
        app,
        page,
        path,
        auth=sign_in,
        footer_links=[],
        run_history=False,
        show_error=False,
        max_file_size=1,
        ssr_mode=False,
        enable_monitoring=False,
        pwa=False,
        mcp_server=False,
        theme=_theme(),
        css=asset("page.css"),
    )
    return mounted


def _theme() -> gr.themes.Base:
    """Gradio's plainest theme with the system's fonts, readable gray text (at least 4.5 to 1), visible boxes."""
    theme = gr.themes.Base(primary_hue="blue", neutral_hue="slate", font=_FONT, font_mono=_MONO)
    return theme.set(
        body_text_color_subdued="*neutral_500",
        body_text_color_subdued_dark="*neutral_400",
        checkbox_border_color="*neutral_500",
        checkbox_border_color_dark="*neutral_400",
    )
