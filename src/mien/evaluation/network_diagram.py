"""The structure of a network as a drawing: one box a layer, as wide as its channels, as tall as its side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

_KINDS = {"depthwise": "#8367c7", "conv": "#3d7ea6", "pooling": "#8a8d91", "flatten": "#8a8d91", "dense": "#e07a3f"}
_COLUMNS = 7
_STEP, _LINE = 1.0, 1.25


def draw_structure(summary: Mapping[str, Any]) -> Figure:
    """Draw a network.

    Args:
        summary: what :func:`mien.training.summary.summarize_network` returns.
    """
    layers = [{"name": "input", "kind": "gray face", "output": [48, 48, 1], "parameters": 0}, *summary["layers"]]
    rows = -(-len(layers) // _COLUMNS)
    figure = Figure(figsize=(1.75 * _COLUMNS, 1.5 * rows + 1.0), layout="constrained")
    axes = figure.subplots()
    axes.set_xlim(-0.55, _COLUMNS - 0.45)
    axes.set_ylim(-(rows - 1) * _LINE - 0.6, 0.6)
    axes.axis("off")
    for number, layer in enumerate(layers):
        x, y = number % _COLUMNS * _STEP, -(number // _COLUMNS) * _LINE
        _box(axes, x, y, layer)
        if number:
            _arrow(axes, number)
    axes.set_title(
        f"{summary['name']}: {summary['parameters']:,} parameters", loc="left", x=0.02, fontsize=14, weight="bold"
    )
    return figure


def _box(axes: Any, x: float, y: float, layer: Mapping[str, Any]) -> None:
    color = next((c for word, c in _KINDS.items() if word in layer["kind"]), "#444444")
    axes.add_patch(
        FancyBboxPatch(
            (x - 0.4, y - 0.36), 0.8, 0.72, "round,pad=0,rounding_size=0.06", fc=color, ec="none", alpha=0.16
        )
    )
    axes.text(x, y + 0.2, layer["name"], ha="center", va="center", fontsize=10, weight="bold", color=color)
    first, _, rest = layer["kind"].partition(", ")
    axes.text(x, y + 0.04, first, ha="center", va="center", fontsize=7.5)
    axes.text(x, y - 0.08, rest, ha="center", va="center", fontsize=7, color="#555555")
    shape = " × ".join(map(str, layer["output"]))
    axes.text(x, y - 0.24, shape, ha="center", va="center", fontsize=9)


def _arrow(axes: Any, number: int) -> None:
    """From the box before: along the line, or down to the start of the next."""
    column, row = number % _COLUMNS, number // _COLUMNS
    style = {"arrowstyle": "-|>", "color": "#666666", "lw": 1.0, "shrinkA": 0, "shrinkB": 0}
    if column:
        start, end = (column - 0.6, -row * _LINE), (column - 0.4, -row * _LINE)
    else:
        start, end = (_COLUMNS - 1, -(row - 1) * _LINE - 0.36), (0, -row * _LINE + 0.36)
        style |= {"connectionstyle": "angle,angleA=-90,angleB=180,rad=0"}
        middle = -row * _LINE + _LINE / 2
        axes.plot([start[0], start[0], 0], [start[1], middle, middle], color="#666666", lw=1.0)
        start = (0, middle)
        style.pop("connectionstyle")
    axes.annotate("", end, start, arrowprops=style)
