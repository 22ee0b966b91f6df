"""Plots: one function a figure, each returning a matplotlib Figure that nothing else holds on to.

Titles come from the caller, who knows what the data are. matplotlib comes with the extra ``train``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.colors import to_rgb
from matplotlib.container import BarContainer
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import NDArray

from mien._utils.files import atomic
from mien.data.faces import Faces
from mien.emotions import class_color
from mien.evaluation.metrics import ClassFigures

DPI = 150
"""Resolution of saved PNG files, in dots an inch."""

_QUIET = "#6b6f76"
_LETTER = 0.0135  # about the width of a small letter, as a share of a panel of history
TRAIN, VALIDATION = "#3d7ea6", "#e07a3f"


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG (150 dpi) or SVG, by the path's suffix; the file appears whole or not at all.

    Raises:
        ValueError: where the suffix is neither ``.png`` nor ``.svg``.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in (".png", ".svg"):
        raise ValueError(f"a figure is saved as .png or .svg, not {suffix or 'without a suffix'}")
    # Dates and random ids would make equal figures differ as files.
    metadata = {"Date": None} if suffix == ".svg" else None
    with atomic(path) as temporary, mpl.rc_context({"svg.hashsalt": "mien"}):
        figure.savefig(temporary, dpi=DPI, facecolor="white", metadata=metadata)


def examples(faces: Faces, per_class: int = 5, title: str = "") -> Figure:
    """The first faces of every class, one class a row, with its name and its number of faces.

    Raises:
        ValueError: where ``per_class`` is below 1.
    """
    if per_class < 1:
        raise ValueError(f"per_class must be at least 1, not {per_class}")
    figure = _figure(1.6 + 1.0 * per_class, 1.02 * len(faces.labels) + 0.6, pad=0.04)
    grid = figure.subplots(len(faces.labels), per_class, squeeze=False)
    for label, (name, count) in enumerate(faces.label_counts().items()):
        shown = faces.images[np.flatnonzero(faces.emotion == label)[:per_class]]
        for column, axes in enumerate(grid[label]):
            _bare(axes)
            if column < len(shown):
                _show_face(axes, shown[column])
        grid[label, 0].set_ylabel(f"{name}\n({count:,})", rotation=0, ha="right", va="center", labelpad=8)
    _head(figure, title or f"Examples: {faces.name}")
    return figure


def label_distributions(
    left: Mapping[str, int], right: Mapping[str, int], titles: tuple[str, str], title: str = ""
) -> Figure:
    """Two bar charts side by side, such as of train and validation labels, or of true and predicted ones.

    Args:
        left: number of faces by class name.
        right: the same for the other chart.
        titles: the charts' titles.
        title: the figure's title.
    """
    figure = _figure(11, 4.2)
    for axes, counts, name in zip(figure.subplots(1, 2), (left, right), titles, strict=True):
        total = max(1, sum(counts.values()))
        bars = axes.bar(range(len(counts)), list(counts.values()), color=colors(list(counts)), width=0.75)
        texts = [f"{count:,}\n{count / total:.1%}" for count in counts.values()]
        axes.bar_label(bars, texts, padding=2, fontsize=8, color=_QUIET)
        axes.set_title(fill(f"{name} ({sum(counts.values()):,})", 60), fontsize=11)
        axes.set_ylabel("faces")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.set_ylim(0.0, 1.18 * max(1, *counts.values()))
        _name_columns(axes, list(counts))
        plain(axes)
    _head(figure, title)
    return figure


def confusion_matrix(
    counts: NDArray[np.integer], names: Sequence[str], title: str, columns: Sequence[str] = ()
) -> Figure:
    """The confusion matrix, normalised by row, with each cell's percentage and count.

    Args:
        counts: int (C, P), row true, column predicted.
        names: the C classes' names.
        title: the figure's title.
        columns: the P columns' names, where they differ from ``names``.

    Raises:
        ValueError: where the shapes do not fit.
    """
    columns = columns or names
    if counts.shape != (len(names), len(columns)):
        raise ValueError(f"counts must have the shape {(len(names), len(columns))}, not {counts.shape}")
    support = counts.sum(axis=1)
    share = counts / np.maximum(support, 1)[:, None]
    side = max(4.5, 1.0 * len(names))
    figure = _figure(side + 1.2 + len(columns) - len(names), side + 0.4)
    axes = figure.subplots()
    image = axes.imshow(share, cmap="Blues", vmin=0.0, vmax=1.0)
    _cells(axes, counts, share)
    _name_columns(axes, columns)
    axes.set_yticks(range(len(names)), [f"{name}\n({n:,})" for name, n in zip(names, support, strict=True)])
    axes.set_xlabel("predicted")
    axes.set_ylabel("true (faces)")
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=30, format=lambda value, _: f"{value:.0%}")
    bar.set_label("share of the true class")
    bar.outline.set_visible(False)
    _head(figure, title)
    return figure


def history(rows: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Loss and accuracy by epoch, for training and validation.

    Phases are separated and named, the epoch of the best validation accuracy is marked, and a small triangle under the
    curves marks every epoch that began with a lower learning rate than the one before it in its phase.

    Args:
        rows: one a epoch with ``phase`` (str), ``epoch`` (int, from 1 through all phases), ``train_loss``,
            ``train_accuracy`` (0 to 1), ``val_loss``, ``val_accuracy`` (0 to 1) and ``lr``.
        title: the figure's title.

    Raises:
        ValueError: where there are no rows.
    """
    if not rows:
        raise ValueError("there is no epoch to plot")
    figure = _figure(11, 4.8)
    loss, accuracy = figure.subplots(1, 2)
    for axes, key in ((loss, "loss"), (accuracy, "accuracy")):
        history_panel(axes, rows, key)
    figure.legend(*accuracy.get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False, fontsize=9)
    _head(figure, title)
    return figure


def history_panel(axes: Axes, rows: Sequence[Mapping[str, Any]], key: str) -> None:
    """One panel of :func:`history`: its ``key`` is ``loss`` or ``accuracy``."""
    best = max(rows, key=lambda row: row["val_accuracy"])
    _curves(axes, rows, key)
    axes.plot(best["epoch"], best[f"val_{key}"], "o", ms=8, mfc="none", mec="#222222", mew=1.4, label=_best(best))
    _phases(axes, rows)
    _drops(axes, rows)
    axes.set_xlabel("epoch")
    axes.set_ylabel(key)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if key == "accuracy":
        percent(axes.yaxis)
    plain(axes)


def per_class_table(per_class: Mapping[str, ClassFigures], title: str) -> Figure:
    """Precision, recall and F1 of every class as bars with their values, and its support beside its name."""
    figure = _figure(10, 1.2 + 0.5 * len(per_class))
    names = [f"{name} ({figures['support']:,})" for name, figures in per_class.items()]
    panels = figure.subplots(1, 3, sharey=True)
    for axes, (key, name) in zip(panels, (("precision", "precision"), ("recall", "recall"), ("f1", "F1")), strict=True):
        values = [float(figures[key]) for figures in per_class.values()]  # type: ignore[literal-required]
        bars = axes.barh(names, values, color=colors(list(per_class)), height=0.7)
        axes.bar_label(bars, [f"{value:.1%}" for value in values], padding=3, fontsize=9)
        axes.set_title(name, fontsize=11)
        _percent_axis(axes)
    panels[0].invert_yaxis()
    panels[0].set_ylabel("class (faces)")
    _head(figure, title)
    return figure


def face_and_bars(
    image: NDArray[np.uint8],
    probabilities: NDArray[np.floating],
    names: Sequence[str],
    true: str | None,
    title: str,
    attribution: tuple[NDArray[np.floating], str] | None = None,
) -> Figure:
    """A face beside the bars of its class probabilities, the predicted and the true class marked.

    Args:
        image: uint8 (48, 48).
        probabilities: float (C,), 0 to 1.
        names: the C classes' names.
        true: the true class's name, or None where it is not known.
        title: the figure's title.
        attribution: how much each pixel supports the predicted class, float (48, 48), 0 to 1, and a caption; they
            become a second image of the face.
    """
    figure = _figure(8.4 if attribution is None else 11.6, 3.8)
    left, *middle, right = figure.subplots(
        1, 2 if attribution is None else 3, width_ratios=[1.0] * (1 + bool(attribution)) + [1.45]
    )
    if attribution is not None:
        _overlay(middle[0], image, *attribution)
    _bare(left)
    _show_face(left, image)
    left.set_xlabel(_caption(probabilities, names, true), fontsize=11)
    _bars(right, probabilities, names, true)
    right.set_xlabel("probability")
    _head(figure, title)
    return figure


def predictions(
    images: NDArray[np.uint8],
    probabilities: NDArray[np.floating],
    names: Sequence[str],
    true: Sequence[str | None],
    title: str,
) -> Figure:
    """Several faces, two a row, each beside the bars of its class probabilities.

    Args:
        images: uint8 (N, 48, 48).
        probabilities: float (N, C), 0 to 1.
        names: the C classes' names.
        true: each face's true class, or None where it is not known.
        title: the figure's title.
    """
    rows = -(-len(images) // 2)
    figure = _figure(12.6, 0.6 + 2.6 * rows)
    cells = figure.subplots(rows, 4, width_ratios=[1.0, 1.6] * 2, squeeze=False).reshape(-1, 2)
    for number, (left, right) in enumerate(cells):
        if number >= len(images):
            left.set_axis_off()
            right.set_axis_off()
            continue
        _bare(left)
        _show_face(left, images[number])
        left.set_xlabel(_caption(probabilities[number], names, true[number]), fontsize=9)
        _bars(right, probabilities[number], names, true[number])
    _head(figure, title)
    return figure


def _caption(probabilities: NDArray[np.floating], names: Sequence[str], true: str | None) -> str:
    return f"true: {true or 'not known'}\npredicted: {names[int(np.argmax(probabilities))]}"


def _bars(axes: Axes, probabilities: NDArray[np.floating], names: Sequence[str], true: str | None) -> None:
    bars = axes.barh(list(names), probabilities, color=colors(names), height=0.7)
    axes.bar_label(bars, [f"{p:.1%}" for p in probabilities], padding=3, fontsize=9)
    axes.invert_yaxis()
    _percent_axis(axes)
    _mark_true(axes, bars, names, true)


def colors(names: Sequence[str]) -> list[str]:
    """A colour for each class: the emotion's own, or the next of a fixed palette for any other class."""
    return [class_color(name, index) for index, name in enumerate(names)]


def _cells(axes: Axes, counts: NDArray[np.integer], share: NDArray[np.floating]) -> None:
    """Write every cell's percentage (a dash in a row without faces) and, smaller, its count."""
    for (row, column), part in np.ndenumerate(share):
        ink = "white" if part > 0.55 else "#222222"
        text = f"{part:.1%}" if counts[row].any() else "–"
        axes.text(column, row - 0.1, text, ha="center", va="center", color=ink, fontsize=10 if row == column else 9)
        count = f"{counts[row, column]:,}"
        axes.text(column, row + 0.2, count, ha="center", va="center", color=ink, fontsize=7, alpha=0.8)


def _curves(axes: Axes, rows: Sequence[Mapping[str, Any]], key: str) -> None:
    epochs = [row["epoch"] for row in rows]
    marker = "." if len(rows) < 3 else None
    for part, name, color in (("train", "training", TRAIN), ("val", "validation", VALIDATION)):
        axes.plot(epochs, [row[f"{part}_{key}"] for row in rows], color=color, lw=1.8, marker=marker, label=name)


def _best(best: Mapping[str, Any]) -> str:
    return f"best: epoch {best['epoch']} (validation accuracy {best['val_accuracy']:.2%}, loss {best['val_loss']:.3f})"


def _phases(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    """Name every phase above the panel, where its part begins, and draw a line between two."""
    first, last = rows[0]["epoch"] - 0.5, rows[-1]["epoch"] + 0.5
    axes.set_xlim(first, last)
    taken, level = 0.0, 0
    for index, row in enumerate(rows):
        if index and row["phase"] == rows[index - 1]["phase"]:
            continue
        start = row["epoch"] - 0.5
        if index:
            axes.axvline(start, color=_QUIET, lw=0.9, ls=(0, (4, 3)))
        # A name that would run into the one before it goes a line higher.
        place = (start - first) / (last - first)
        level = level + 1 if place < taken else 0
        taken = place + _LETTER * (len(row["phase"]) + 1)
        axes.text(place, 1.02 + 0.05 * level, row["phase"], transform=axes.transAxes, fontsize=8, color=_QUIET)


def _drops(axes: Axes, rows: Sequence[Mapping[str, Any]]) -> None:
    drops = [b["epoch"] for a, b in pairwise(rows) if b["phase"] == a["phase"] and b["lr"] < a["lr"]]
    if drops:
        down = axes.get_xaxis_transform()
        axes.plot(drops, [0.02] * len(drops), "v", ms=5, color=_QUIET, transform=down, label="learning rate drops")


def _mark_true(axes: Axes, bars: BarContainer, names: Sequence[str], true: str | None) -> None:
    for name, tick, bar in zip(names, axes.get_yticklabels(), bars, strict=True):
        if name == true:
            tick.set_fontweight("bold")
            bar.set_edgecolor("#222222")
            bar.set_linewidth(1.6)


def _figure(width: float, height: float, pad: float = 0.1) -> Figure:
    """A figure of a size in inches whose parts make room for each other, with a little air at the edges."""
    return Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=pad, h_pad=pad))


def _name_columns(axes: Axes, names: Sequence[str]) -> None:
    """Class names along x, tilted where they would run into each other."""
    axes.set_xticks(range(len(names)), list(names))
    if max(map(len, names), default=0) > 9:
        axes.tick_params(axis="x", rotation=30)
        for label in axes.get_xticklabels():
            label.set(ha="right", rotation_mode="anchor")


def _show_face(axes: Axes, image: NDArray[np.uint8]) -> None:
    axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="nearest")


def _overlay(axes: Axes, image: NDArray[np.uint8], share: NDArray[np.floating], note: str) -> None:
    """The face under an orange veil, the denser the larger the share, with a note below."""
    _bare(axes)
    _show_face(axes, image)
    veil = np.empty((*share.shape, 4))
    veil[..., :3], veil[..., 3] = to_rgb("#ff6000"), 0.72 * share
    axes.imshow(veil, interpolation="nearest")
    axes.set_xlabel(fill(note, 46), fontsize=9)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def plain(axes: Axes) -> None:
    """Hide the axes' upper and right edge."""
    axes.spines[["top", "right"]].set_visible(False)


def percent(*which: Axis) -> None:
    """Label fractions as percentages."""
    for one in which:
        one.set_major_formatter(PercentFormatter(1, decimals=0))


def _percent_axis(axes: Axes) -> None:
    """A share from 0 to 100 % along x, with room for the longest bar's value."""
    axes.set_xlim(0.0, 1.18)
    axes.set_xticks([0.0, 0.25, 0.5, 0.75, 1.0], ["0%", "25%", "50%", "75%", "100%"], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_bounds(0.0, 1.0)


def _head(figure: Figure, title: str) -> None:
    """Set the figure's title, wrapped at its width."""
    if title:
        figure.suptitle(fill(title, int(figure.get_figwidth() * 10.5)), fontsize=13)
