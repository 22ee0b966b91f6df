"""The tab Explore: a data set's faces beside predictions for them, found by slider, filter or confusion cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any, NamedTuple

import gradio as gr
import numpy as np
from numpy.typing import NDArray

from mien.data.faces import UNLABELLED, Usage
from mien.emotions import Output
from mien.models.output import with_output
from mien.serving.page.common import clickable, pressed, refuse, shown_errors
from mien.serving.page.data import NO_LABEL, Filters, Split, Store, output_names
from mien.serving.page.gradcam import gradcam_image
from mien.serving.page.html import PAGE, bars, confusion, gallery, image_tag, notice, votes

_PROGRESS = gr.Progress()
ANY = "any"
_WHETHER: Mapping[str, bool | None] = {ANY: None, "only": True, "without": False}


class Selection(NamedTuple):
    """The settings of the tab as the page gives them, in the order of its inputs."""

    model: str
    split: str
    question: str
    true: str
    predicted: str
    wrong: bool
    low: float
    high: float
    leaked: str
    suspect: str


class MatchingFaces(NamedTuple):
    """A split with a model's answers, and the faces that fit the filters, int64 (M,)."""

    split: Split
    answers: NDArray[np.float64]
    matches: NDArray[np.int64]


class Explorer:
    """The HTML of the tab.

    Args:
        store: the data and the models.
    """

    def __init__(self, store: Store) -> None:
        self.store, self.labels = store, store.data.labels

    def output(self, selection: Selection) -> Output:
        """The selected output; the default where the model has no such output."""
        return output_names(self.store.models[selection.model].bundle).get(selection.question, Output.DEFAULT)

    def filters(self, selection: Selection) -> Filters:
        """The filters of the selection."""
        low, high = sorted((selection.low, selection.high))
        true, predicted = (self._class(word) for word in (selection.true, selection.predicted))
        return Filters(
            true, predicted, selection.wrong, low, high, _WHETHER.get(selection.leaked), _WHETHER.get(selection.suspect)
        )

    def _class(self, word: str) -> int | None:
        return self.labels.index(word) if word in self.labels else None

    def find(self, selection: Selection, progress: Any = lambda *_, **__: None) -> MatchingFaces:
        """A model's answers on the selected split, and the faces that fit."""
        output = self.output(selection)
        answers = self.store.answers(selection.model, selection.split, output, shown_errors(progress, selection.model))
        split = self.store.split(selection.split)
        return MatchingFaces(split, answers, split.matches(answers, self.filters(selection)))

    def matrix(self, selection: Selection, matching: MatchingFaces) -> str:
        """The confusion matrix of the whole split."""
        filters = self.filters(selection)
        return confusion(matching.split.confusion(matching.answers), self.labels, (filters.true, filters.predicted))

    def summary(self, matching: MatchingFaces) -> str:
        """How many faces fit, and how good the model is on the split."""
        accuracy, clean = matching.split.accuracy(matching.answers)
        found = f"<b>{len(matching.matches):,}</b> of {len(matching.split.faces):,} faces match."
        right = "" if accuracy is None else f" Accuracy on the whole split: {accuracy:.2%}"
        rest = "" if clean is None else f"; {clean:.2%} on faces that are not also in Training"
        return f'<p role="status">{found}{right}{rest}{"." if right else ""}</p>'

    def faces(self, matching: MatchingFaces, page: int, chosen: int) -> str:
        """A page of the faces that fit, and the buttons to the others."""
        said, split = matching.answers.argmax(1), matching.split

        def describe(number: int) -> tuple[str, bool]:
            name = f"Face {number}: {split.label(number)}, predicted {self.labels[said[number]]}"
            return name, split.faces.emotion[number] not in (UNLABELLED, said[number])

        return gallery(split.faces.images, matching.matches, page, chosen, describe)

    def face(self, selection: Selection, number: int, with_cam: bool) -> str:
        """One face, enlarged: its label, bars, votes, and on request Grad-CAM."""
        split = self.store.split(selection.split)
        faces, number = split.faces, min(max(int(number), 0), len(split.faces) - 1)
        row = self.store.answer(selection.model, selection.split, number, self.output(selection))
        label, said = split.label(number), self.labels[int(row.argmax())]
        name = escape(f"Face {number} of {split.name}")
        images = image_tag(faces.images[number], f"{name}, {label}", "large")
        if with_cam:
            bundle = with_output(self.store.models[selection.model].bundle, self.output(selection))
            images += gradcam_image(bundle, faces.images[number], int(row.argmax()), said)
        shares = dict(zip(self.labels, row.tolist(), strict=True))
        counted = "" if faces.votes is None else votes(faces.votes[number])
        sure = f"{row.max():.1%}.{_verdict(label, said)}"
        return (
            f'<section class="mien-one" aria-label="{name}"><div class="mien-pictures">{images}</div>'
            f"<div><h2>{name}</h2><p>Label: <b>{escape(label)}</b>. Predicted: <b>{escape(said)}</b>, {sure}</p>"
            f"{bars(shares, label)}{counted}{_marks(split, number)}"
            f'<p class="mien-quiet">Row {int(faces.row[number]):,} of {escape(faces.name)}</p></div></section>'
        )

    def everything(self, selection: Selection, number: int, with_cam: bool, progress: Any) -> tuple[Any, ...]:
        """All that the tab shows anew; the face stays where it fits, and else is the first that does."""
        matching = self.find(selection, progress)
        last = len(matching.split.faces) - 1
        number = min(number, last)
        if len(matching.matches) and number not in matching.matches:
            number = int(matching.matches[0])
        page = int(np.searchsorted(matching.matches, number)) // PAGE
        return (
            gr.Slider(maximum=max(last, 1), value=number, label=f"Face, 0 to {last}"),
            self.face(selection, number, with_cam),
            self.matrix(selection, matching),
            self.summary(matching),
            self.faces(matching, page, number),
            page,
        )

    def cell(self, event: gr.EventData) -> tuple[str, str]:
        """The two labels of a pressed cell of the confusion matrix."""
        at, words = pressed(event), dict(enumerate(self.labels))
        return words.get(at.get("true", -1), ANY), words.get(at.get("predicted", -1), ANY)


def _verdict(label: str, said: str) -> str:
    if label == NO_LABEL:
        return ""
    word = "correct" if label == said else "wrong"
    return f' <span class="mien-verdict {word}">{word}</span>'


def _marks(split: Split, number: int) -> str:
    marks = []
    if split.leaked is not None and split.leaked[number]:
        marks.append("Leaked: the same pixels are also in Training.")
    if split.suspect is not None and number in split.suspect:
        marks.append(f"Suspect label: most votes are for {split.suspect[number]}.")
    return "".join(notice(mark) for mark in marks)


@dataclass(frozen=True)
class _Parts:
    """The tab's components; ``settings`` in the order of :class:`Selection`."""

    settings: list[Any]
    number: gr.Slider
    cam: gr.Checkbox
    clear: gr.Button
    face: gr.HTML
    matrix: gr.HTML
    summary: gr.HTML
    faces: gr.HTML
    page: gr.State


def explore_tab(store: Store, tab: gr.Tab) -> None:
    """Lay out the tab and wire it; what takes time waits until the tab is opened."""
    _wire(Explorer(store), _laid_out(store), tab)


def _laid_out(store: Store) -> _Parts:
    names, split_names = list(store.models), store.splits
    offered = list(dict.fromkeys(word for one in store.models.values() for word in output_names(one.bundle)))
    last = store.data.splits()[split_names[0]] - 1
    with gr.Row():
        split = gr.Dropdown(split_names, value=split_names[0], label="Split", min_width=140)
        model = gr.Dropdown(names, value=names[0], label="Model", min_width=140, visible=len(names) > 1)
        question = gr.Dropdown(offered, value=offered[0], label="Output", min_width=180, visible=len(offered) > 1)
    number = gr.Slider(0, max(last, 1), 0, step=1, label=f"Face, 0 to {last}", elem_id="mien-number")
    with gr.Row(equal_height=False):
        with gr.Column(scale=5, min_width=300):
            face = gr.HTML(elem_id="mien-face", padding=False)
            cam = gr.Checkbox(label="Show Grad-CAM", container=False)
        with gr.Column(scale=4, min_width=300):
            matrix = clickable("mien-matrix")
    filters, clear = _filter_inputs(store)
    summary = gr.HTML(elem_id="mien-summary", padding=False)
    faces = clickable("mien-gallery")
    return _Parts([model, split, question, *filters], number, cam, clear, face, matrix, summary, faces, gr.State(0))


def _filter_inputs(store: Store) -> tuple[list[Any], gr.Button]:
    """The filters in the order of :class:`Selection`, and the button that clears them."""
    classes, whether = [ANY, *store.data.labels], list(_WHETHER)
    voted, has_training = store.data.votes is not None, Usage.TRAINING in store.splits
    with gr.Accordion("Filters", open=True):
        with gr.Row():
            true = gr.Dropdown(classes, value=ANY, label="True label", min_width=130)
            predicted = gr.Dropdown(classes, value=ANY, label="Predicted label", min_width=130)
            leaked = gr.Dropdown(whether, value=ANY, label="Leaked", min_width=130, visible=has_training)
            suspect = gr.Dropdown(whether, value=ANY, label="Suspect label", min_width=130, visible=voted)
        with gr.Row():
            low = gr.Slider(0, 1, 0, step=0.01, label="Probability from", min_width=160)
            high = gr.Slider(0, 1, 1, step=0.01, label="Probability to", min_width=160)
        with gr.Row(equal_height=True):
            wrong = gr.Checkbox(label="Errors only", min_width=120)
            clear = gr.Button("Clear filters", min_width=120)
    return [true, predicted, wrong, low, high, leaked, suspect], clear


def _wire(explorer: Explorer, parts: _Parts, tab: gr.Tab) -> None:
    def find(number: float, cam: bool, progress: Any = _PROGRESS, *values: Any) -> tuple[Any, ...]:
        with refuse():
            return explorer.everything(Selection(*values), int(number), cam, progress)

    def turn(number: float, cam: bool, *values: Any) -> str:
        with refuse():
            return explorer.face(Selection(*values), int(number), cam)

    def press(number: float, cam: bool, page: int, event: gr.EventData, *values: Any) -> tuple[Any, ...]:
        with refuse():
            selection, at = Selection(*values), pressed(event)
            number, page = at.get("face", int(number)), at.get("page", page)
            faces = explorer.faces(explorer.find(selection), page, number)
            return number, explorer.face(selection, number, cam), faces, page

    every = [parts.number, parts.cam, *parts.settings]
    drawn = [parts.number, parts.face, parts.matrix, parts.summary, parts.faces, parts.page]
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    again: dict[str, Any] = {"fn": find, "inputs": every, "outputs": drawn, "api_visibility": "private"}
    again["show_progress_on"] = parts.face  # else each output shows a bar of its own
    tab.select(**again)
    for one in parts.settings:
        one.input(**again, show_progress="minimal", trigger_mode="always_last")
    for listen in (parts.number.input, parts.cam.input):
        listen(turn, every, parts.face, trigger_mode="always_last", **quiet)
    parts.matrix.select(explorer.cell, None, parts.settings[3:5], **quiet).then(**again, show_progress="minimal")
    parts.clear.click(lambda: _CLEAR, None, parts.settings[3:], **quiet).then(**again, show_progress="minimal")
    shown = [parts.number, parts.face, parts.faces, parts.page]
    parts.faces.select(press, [parts.number, parts.cam, parts.page, *parts.settings], shown, **quiet)


_CLEAR = (ANY, ANY, False, 0.0, 1.0, ANY, ANY)
