"""The tab Compare: two models on the same face, and over a split."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from html import escape
from typing import Any, NamedTuple

import gradio as gr
import numpy as np
from numpy.typing import NDArray

from mien.data.faces import UNLABELLED
from mien.emotions import Output
from mien.serving.page.common import clickable, pressed, refuse, shown_errors
from mien.serving.page.data import Split, Store
from mien.serving.page.html import PAGE, bars, gallery, image_tag, table

_PROGRESS = gr.Progress()
_Chooser = Callable[[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]], NDArray[np.bool_]]
_LISTS: Mapping[str, _Chooser] = {
    "predictions differ": lambda one, other, true: one != other,
    "only the first is correct": lambda one, other, true: (one == true) & (other != true),
    "only the second is correct": lambda one, other, true: (one != true) & (other == true),
    "both are wrong": lambda one, other, true: (true != UNLABELLED) & (one != true) & (other != true),
}


class Pair(NamedTuple):
    """What the tab is asked for: two models, a split, and which faces to list."""

    first: str
    second: str
    split: str
    which: str


class Comparison:
    """What the tab shows, as HTML, without its wiring; of both models their default outputs.

    Args:
        store: the data and the models.
    """

    def __init__(self, store: Store) -> None:
        self.store, self.labels = store, store.data.labels

    def answers(self, pair: Pair, progress: Any = lambda *_, **__: None) -> list[NDArray[np.float64]]:
        """Both models' probabilities on the split, float64 (N, C) each."""
        return [
            self.store.answers(name, pair.split, Output.DEFAULT, shown_errors(progress, name))
            for name in (pair.first, pair.second)
        ]

    def matches(self, pair: Pair, answers: list[NDArray[np.float64]]) -> NDArray[np.int64]:
        """The numbers of the listed faces, int64 (M,)."""
        one, other = (rows.argmax(1) for rows in answers)
        choose = _LISTS.get(pair.which, _LISTS["predictions differ"])
        return np.flatnonzero(choose(one, other, self.store.split(pair.split).faces.emotion))

    def figures(self, pair: Pair, answers: list[NDArray[np.float64]]) -> str:
        """Accuracies of both, and how many faces only one predicts correctly."""
        split = self.store.split(pair.split)
        rows = []
        for name, found in zip((pair.first, pair.second), answers, strict=True):
            accuracy, clean = split.accuracy(found)
            sizes = f"{self.store.models[name].bundle.parameters:,}"
            output = self.store.models[name].bundle.card.output
            rows.append([name, output, _percent(accuracy), _percent(clean), sizes])
        top = table(["Model", "Output", "Accuracy", "Clean accuracy", "Parameters"], rows, f"On {pair.split}")
        return f"{top}{self._counts(pair, answers, split)}"

    def _counts(self, pair: Pair, answers: list[NDArray[np.float64]], split: Split) -> str:
        one, other = (rows.argmax(1) == split.faces.emotion for rows in answers)
        known = split.faces.emotion != UNLABELLED
        said = answers[0].argmax(1) != answers[1].argmax(1)
        counts = {
            "both correct": one & other,
            f"only {pair.first} correct": one & ~other,
            f"only {pair.second} correct": other & ~one,
            "both wrong": known & ~one & ~other,
            "predictions differ": said,
        }
        rows = [[name, f"{int(found.sum()):,}", _percent(float(found.mean()))] for name, found in counts.items()]
        return table(["Faces", "Number", "Share"], rows, "The same faces, both models")

    def faces(self, pair: Pair, answers: list[NDArray[np.float64]], page: int, chosen: int) -> str:
        """A page of the listed faces, and the buttons to the others."""
        matches, split = self.matches(pair, answers), self.store.split(pair.split)
        one, other = (rows.argmax(1) for rows in answers)

        def describe(number: int) -> tuple[str, bool]:
            said = (
                f"{pair.first} predicts {self.labels[one[number]]}, {pair.second} predicts {self.labels[other[number]]}"
            )
            return f"Face {number}: {split.label(number)}, {said}", False

        head = f'<p role="status"><b>{len(matches):,}</b> faces</p>'
        return f"{head}{gallery(split.faces.images, matches, page, chosen, describe)}"

    def face(self, pair: Pair, number: int) -> str:
        """One face with both models' bars."""
        split = self.store.split(pair.split)
        number = min(max(int(number), 0), len(split.faces) - 1)
        label, name = split.label(number), escape(f"Face {number} of {split.name}")
        sides = "".join(self._side(model, pair.split, number, label) for model in (pair.first, pair.second))
        return (
            f'<section class="mien-two" aria-label="{name}"><div>{image_tag(split.faces.images[number], name, "large")}'
            f"<p>{name}. Label: <b>{escape(label)}</b></p></div>{sides}</section>"
        )

    def _side(self, model: str, split: str, number: int, label: str) -> str:
        row = self.store.answer(model, split, number, Output.DEFAULT)
        said = f"<b>{escape(self.labels[int(row.argmax())])}</b>, {row.max():.1%}"
        shares = dict(zip(self.labels, row.tolist(), strict=True))
        return f"<div><h2>{escape(model)}: {said}</h2>{bars(shares, label)}</div>"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.2%}"


def compare_tab(store: Store, tab: gr.Tab) -> None:
    """Lay out the tab and wire it; what takes time waits until the tab is opened."""
    comparison, names = Comparison(store), list(store.models)
    last = len(store.split(store.splits[0]).faces) - 1
    with gr.Row():
        first = gr.Dropdown(names, value=names[0], label="First model", min_width=140)
        second = gr.Dropdown(names, value=names[1], label="Second model", min_width=140)
        split = gr.Dropdown(store.splits, value=store.splits[0], label="Split", min_width=140)
        which = gr.Dropdown(list(_LISTS), value="predictions differ", label="Show faces where", min_width=180)
    slider = gr.Slider(0, max(last, 1), 0, step=1, label=f"Face, 0 to {last}", elem_id="mien-pair-number")
    face = gr.HTML(elem_id="mien-pair", padding=False)
    figures = gr.HTML(elem_id="mien-figures", padding=False)
    faces = clickable("mien-differ")
    page, settings = gr.State(0), [first, second, split, which]

    def find(number: float, progress: Any = _PROGRESS, *values: Any) -> tuple[Any, ...]:
        with refuse():
            pair = Pair(*values)
            answers, matches = (found := comparison.answers(pair, progress)), comparison.matches(pair, found)
            last = len(answers[0]) - 1
            number = min(int(number), last)
            if len(matches) and number not in matches:
                number = int(matches[0])
            place = int(np.searchsorted(matches, number)) // PAGE
            return (
                gr.Slider(maximum=last, value=number, label=f"Face, 0 to {last}"),
                comparison.face(pair, number),
                comparison.figures(pair, answers),
                comparison.faces(pair, answers, place, number),
                place,
            )

    def turn(number: float, *values: Any) -> str:
        with refuse():
            return comparison.face(Pair(*values), int(number))

    def press(number: float, page: int, event: gr.EventData, *values: Any) -> tuple[Any, ...]:
        with refuse():
            pair, at = Pair(*values), pressed(event)
            number, page = at.get("face", int(number)), at.get("page", page)
            return (
                number,
                comparison.face(pair, number),
                comparison.faces(pair, comparison.answers(pair), page, number),
                page,
            )

    every, drawn = [slider, *settings], [slider, face, figures, faces, page]
    progress: dict[str, Any] = {"show_progress_on": face}  # else each output shows a bar of its own
    tab.select(find, every, drawn, api_visibility="private", **progress)
    for one in settings:
        one.input(find, every, drawn, api_visibility="private", show_progress="minimal", **progress)
    slider.input(turn, every, face, api_visibility="private", trigger_mode="always_last", show_progress="hidden")
    faces.select(
        press, [slider, page, *settings], [slider, face, faces, page], api_visibility="private", show_progress="hidden"
    )
