"""The plots of a report: small panels as SVG that take the page's colours, light or dark."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mien.evaluation.plots import TRAIN, VALIDATION, colors, history_panel, percent, plain
from mien.evaluation.statistics import BINS, coverage, reliability

SIZE = (5.4, 3.7)
"""Of a panel, inches: small, so that its text can be read on a phone."""

_INK, _QUIET = "#010203", "#040506"
_PAGE_COLORS = {_INK: "currentColor", "#222222": "currentColor", _QUIET: "var(--quiet)", "#6b6f76": "var(--quiet)"}
"""Colours that the page decides; all others stay, and can be read on light and dark ground."""
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 10.0,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _QUIET,
    "xtick.color": _QUIET,
    "ytick.color": _QUIET,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "axes.facecolor": "none",
    "legend.frameon": False,
    "legend.fontsize": 9.0,
}


def history(rows: Sequence[Mapping[str, Any]], key: str) -> Markup:
    """Loss or accuracy by epoch."""
    with _panel() as (figure, axes):
        history_panel(axes, rows, key)
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        return _svg(figure, f"history-{key}", f"{key} by epoch, for training and validation")


def distributions(pair: Mapping[str, Mapping[str, int]], about: str) -> Markup:
    """The classes' shares in two sets of faces, by their names, side by side."""
    with _panel() as (figure, axes):
        for place, (name, counts) in enumerate(pair.items()):
            total = max(1, sum(counts.values()))
            x = np.arange(len(counts)) + 0.4 * (place - 0.5)
            bars = axes.bar(x, [n / total for n in counts.values()], 0.38, label=f"{name} ({total:,})")
            for bar, color in zip(bars, colors(list(counts)), strict=True):
                bar.set(color=color, alpha=1.0 if place else 0.45)
            axes.bar_label(bars, [f"{n / total:.0%}" for n in counts.values()], padding=1, fontsize=7, color=_QUIET)
        axes.set_xticks(range(len(counts)), list(counts), rotation=30, ha="right", rotation_mode="anchor")
        axes.tick_params(axis="x", length=0)
        axes.set_ylabel("share of the faces")
        percent(axes.yaxis)
        legend = axes.legend(loc="upper left", bbox_to_anchor=(0, 1.18), ncols=2)
        for handle, alpha in zip(legend.legend_handles, (0.45, 1.0), strict=True):
            handle.set(color=_QUIET, alpha=alpha)  # type: ignore[union-attr]
        return _svg(figure, about.replace(" ", "-"), about)


def calibration(curves: Mapping[str, tuple[NDArray[np.bool_], NDArray[np.floating]]]) -> Markup:
    """A reliability diagram: one curve for each name's hits and confidences, bool (N,) and float (N,)."""
    with _panel() as (figure, axes):
        axes.plot([0, 1], [0, 1], color=_QUIET, lw=1, ls=(0, (4, 3)), label="perfect calibration")
        for (name, (hits, confidence)), color in zip(curves.items(), (VALIDATION, TRAIN), strict=False):
            axes.plot(*reliability(hits, confidence), "o-", color=color, ms=4, lw=1.8, label=name)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.02), xlabel="confidence", ylabel="accuracy")
        percent(axes.xaxis, axes.yaxis)
        axes.legend(loc="upper left")
        return _svg(figure, "calibration", "reliability diagram: accuracy against confidence")


def confidences(hits: NDArray[np.bool_], confidence: NDArray[np.floating]) -> Markup:
    """A histogram of confidence, with correct and wrong predictions stacked."""
    with _panel() as (figure, axes):
        parts = {"correct": confidence[hits], "wrong": confidence[~hits]}
        names = [f"{name} ({len(part):,})" for name, part in parts.items()]
        edges = np.linspace(0, 1, BINS + 1).tolist()
        axes.hist(list(parts.values()), edges, stacked=True, label=names, color=[TRAIN, VALIDATION], rwidth=0.92)
        axes.set(xlim=(0, 1), xlabel="confidence", ylabel="faces")
        axes.yaxis.set_major_formatter("{x:,.0f}")
        percent(axes.xaxis)
        axes.legend(loc="upper left")
        return _svg(figure, "confidence", "histogram of confidence, correct and wrong predictions")


def abstention(hits: NDArray[np.bool_], confidence: NDArray[np.floating]) -> Markup:
    """Accuracy against coverage."""
    with _panel() as (figure, axes):
        share, accuracy = coverage(hits, confidence)
        steady = share >= min(0.02, share[-1])  # the first few faces' accuracy jumps between 0 and 1
        axes.plot(share[steady], accuracy[steady], color=TRAIN, lw=1.8)
        axes.plot(1, accuracy[-1], "o", color=TRAIN, ms=5)
        axes.annotate(f"all: {accuracy[-1]:.1%}", (1, accuracy[-1]), (-8, -16), textcoords="offset points", ha="right")
        axes.set(xlim=(0, 1.02), xlabel="coverage: share of the faces above the threshold", ylabel="accuracy on these")
        axes.set_ylim(min(0.5, float(accuracy[steady].min())), 1.01)
        percent(axes.xaxis, axes.yaxis)
        return _svg(figure, "coverage", "accuracy against coverage")


@contextmanager
def _panel() -> Iterator[tuple[Figure, Axes]]:
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=SIZE, layout="constrained", facecolor="none")
        axes = figure.subplots()
        plain(axes)
        yield figure, axes


def _svg(figure: Figure, name: str, about: str) -> Markup:
    """The figure as an SVG element with ids of its own and a label."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = re.sub(r"font-family: [^;\"]*", "font-family: inherit", text)
    text = re.sub(r"(font: [^;\"]*?px) [^;\"]*", r"\1 var(--font)", text)
    for color, page in _PAGE_COLORS.items():
        text = text.replace(color, page)
    width, height = (72 * inches for inches in SIZE)
    head = f'<svg role="img" aria-label="{escape(about)}" viewBox="0 0 {width:.1f} {height:.1f}"'
    return Markup(head + text[text.index(">") :])
