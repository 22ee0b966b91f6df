"""What the tabs share: the page's files, buttons inside of HTML, errors as one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib import resources
from typing import Any

import gradio as gr

from mien.errors import MienError
from mien.serving.page.data import Progress


@cache
def asset(name: str) -> str:
    """The text of a file that lies beside this one."""
    return resources.files("mien.serving.page").joinpath(name).read_text(encoding="utf-8")


@contextmanager
def refuse() -> Iterator[None]:
    """Show an error of ours in the page, as one line, instead of a failure."""
    try:
        yield
    except MienError as error:
        raise gr.Error(str(error), title="Error", print_exception=False) from error


def shown_errors(progress: Any, model: str) -> Progress:
    """Gradio's progress bar, of the evaluation of a model on a split."""
    return lambda share: progress(share, desc=f"Evaluating {model}")


def clickable(name: str, value: str = "") -> gr.HTML:
    """HTML whose buttons (:func:`mien.serving.page.html.sender`) send what they carry: listen to ``select``."""
    return gr.HTML(value, js_on_load=asset("press.js"), elem_id=name, padding=False)


def pressed(event: gr.EventData) -> dict[str, int]:
    """What the pressed button carried; the browser's word is not trusted to be whole numbers."""
    found: Any = event._data
    return {str(key): value for key, value in found.items() if type(value) is int} if isinstance(found, dict) else {}
