"""Image grids: the worst findings of each kind, each face with its row, split and label."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mien.data.faces import USAGES, Faces
from mien.data.quality.checks import Finding, Kind, Quality
from mien.data.quality.clean import label_of

COLUMNS, ROWS = 8, 6

_TITLES = {
    Kind.DUPLICATE: "Identical faces: the largest groups, one a row",
    Kind.LEAKED: "Leaked test faces (left of each pair) and their duplicates in Training (right)",
    Kind.CONFLICTING: "Identical faces with different labels, one group a row",
    Kind.CONSTANT: "Images of a single gray",
    Kind.NEAR_BLANK: "Images nearly of a single gray",
    Kind.NEAR_DUPLICATE: "Near duplicates: the least similar pairs",
    Kind.SUSPECT: "Suspect labels, the most suspect first",
    Kind.NOT_A_FACE: "Not a face, by the majority of FER+ votes",
}
_GROUPED = (Kind.DUPLICATE, Kind.CONFLICTING)
_PAIRED = (Kind.LEAKED, Kind.NEAR_DUPLICATE)


def image_grid(quality: Quality, kind: Kind) -> Figure | None:
    """The worst findings of a kind, at most 48 faces; None where there are none to show."""
    found = [finding for finding in quality.of(kind) if finding.face is not None]
    if not found or kind not in _TITLES:
        return None
    cells = _grouped(quality, found) if kind in _GROUPED else _cells(found, kind)
    if not cells:
        return None
    count = len({finding.face for finding in found})
    return _draw(quality.faces, cells, f"{_TITLES[kind]}\n{quality.faces.name}, faces in all: {count:,}")


def _grouped(quality: Quality, found: Sequence[Finding]) -> list[list[tuple[int, str]]]:
    """The largest groups, one a row, of each at most 8 faces, those with other labels first."""
    groups: dict[int, list[int]] = {}
    for one in found:
        if one.face is not None and one.group is not None and not quality.copies.constant[one.face]:
            groups.setdefault(one.group, []).append(one.face)
    largest = sorted(groups.values(), key=lambda group: -len(group))[:ROWS]
    return [[(face, "") for face in _varied(quality.faces, group)[:COLUMNS]] for group in largest]


def _varied(faces: Faces, group: list[int]) -> list[int]:
    """The group's faces, one of each label first."""
    labels, first = np.unique(faces.emotion[group], return_index=True)
    shown = [group[place] for place in sorted(first)] if len(labels) > 1 else []
    return shown + [face for face in group if face not in shown]


def _cells(found: Sequence[Finding], kind: Kind) -> list[list[tuple[int, str]]]:
    """The worst first, pairs side by side; of suspects by votes and by a model in turn."""
    rising = kind is Kind.NEAR_DUPLICATE
    ranked = sorted(found, key=lambda one: (one.score or 0.0) * (1 if rising else -1))
    if kind is Kind.SUSPECT:
        ranked = _in_turn(ranked)
    flat: list[tuple[int, str]] = []
    shown: set[frozenset[int]] = set()
    for one in ranked:
        members = [number for number in (one.face, one.twin if kind in _PAIRED else None) if number is not None]
        if frozenset(members) not in shown:
            shown.add(frozenset(members))
            flat += [(number, _note(one, kind) if number == one.face else "") for number in members]
        if len(flat) >= COLUMNS * ROWS:
            break
    return [flat[start : start + COLUMNS] for start in range(0, min(len(flat), COLUMNS * ROWS), COLUMNS)]


def _in_turn(ranked: Sequence[Finding]) -> list[Finding]:
    sources: dict[str, list[Finding]] = {}
    for one in ranked:
        sources.setdefault(one.note.rpartition(" by ")[2], []).append(one)
    return [one for row in zip_longest(*sources.values()) for one in row if one is not None]


def _note(finding: Finding, kind: Kind) -> str:
    if kind is Kind.SUSPECT:
        better, _, source = finding.note.partition(" by ")
        return f"{better.capitalize()}? ({source} {finding.score:.2f})"
    if kind is Kind.NEAR_DUPLICATE:
        return f"{finding.score:.3f}{' mirrored' if 'mirrored' in finding.note else ''}"
    if kind is Kind.NOT_A_FACE and finding.score is not None:
        return f"{finding.score:.0%} of votes"
    return ""


def _draw(faces: Faces, cells: Sequence[Sequence[tuple[int, str]]], title: str) -> Figure:
    figure = Figure(figsize=(1.45 * COLUMNS, 1.9 * len(cells) + 0.7), layout="constrained")
    grid = figure.subplots(len(cells), COLUMNS, squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for row, line in zip(cells, grid, strict=False):
        for (number, note), axes in zip(row, line, strict=False):
            _face(axes, faces, number, note)
    figure.suptitle(title, fontsize=11)
    return figure


def _face(axes: Axes, faces: Faces, number: int, note: str) -> None:
    axes.imshow(faces.images[number], cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    caption = f"{USAGES[faces.usage[number]]} {faces.row[number]}\n{label_of(faces, number) or 'no label'}"
    axes.set_title(f"{caption}\n{note}" if note else caption, fontsize=7, pad=2)
