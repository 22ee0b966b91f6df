"""Pieces of the page as HTML: bars, faces, the confusion matrix, galleries. Text from outside is escaped here."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from html import escape

import cv2
import numpy as np
from numpy.typing import NDArray

from mien.emotions import FERPLUS, class_color

PAGE = 60
"""How many faces a gallery shows at once."""


def data_uri(data: bytes, kind: str) -> str:
    """Bytes as a ``data:`` address of a media type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def png(pixels: NDArray[np.uint8]) -> str:
    """Gray (H, W) or RGB (H, W, 3), uint8, as the address of a PNG."""
    ordered = pixels if pixels.ndim == 2 else cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
    return data_uri(cv2.imencode(".png", ordered)[1].tobytes(), "image/png")


def picture(pixels: NDArray[np.uint8], alt: str, kind: str = "") -> str:
    """An image, enlarged without blur by the style ``mien-pixels``."""
    return f'<img class="mien-pixels {kind}" src="{png(pixels)}" alt="{escape(alt)}">'


def bars(probabilities: Mapping[str, float], marked: str | None = None) -> str:
    """A bar a class, in the order of the classes; ``marked`` is the true label."""
    rows = []
    for place, (label, share) in enumerate(probabilities.items()):
        true = label == marked
        note = '<span class="mien-sr"> (true label)</span>' if true else ""
        rows.append(
            f'<li class="{"true" if true else ""}"><span>{escape(label)}{note}</span>'
            f'<span class="track"><i style="width:{share:.2%};background:{class_color(label, place)}"></i></span>'
            f"<span>{share:.1%}</span></li>"
        )
    return f'<ul class="mien-bars">{"".join(rows)}</ul>'


def votes(counts: NDArray[np.integer]) -> str:
    """FER+ votes in words, the most first."""
    order = [int(place) for place in np.argsort(-counts.astype(int), kind="stable") if counts[place]]
    words = (f"{counts[place]} {'not a face' if FERPLUS[place] == 'nf' else FERPLUS[place]}" for place in order)
    return f'<p class="mien-quiet">FER+ votes: {", ".join(words) or "none"}</p>'


def sender(message: Mapping[str, int], key: str) -> str:
    """The attributes of a button that tells the page ``message`` when it is pressed; ``key`` keeps the focus on it."""
    return f'type="button" data-send="{escape(json.dumps(dict(message)))}" data-key="{escape(key)}"'


def confusion(counts: NDArray[np.int64], labels: Sequence[str], chosen: tuple[int | None, int | None]) -> str:
    """The confusion matrix as a table of buttons; a cell's ground says which part of its row it is."""
    totals = np.maximum(counts.sum(1), 1)
    head = "".join(f'<th scope="col"><span>{escape(label)}</span></th>' for label in labels)
    rows = []
    for true, label in enumerate(labels):
        cells = "".join(
            _cell(int(count), count / totals[true], (true, said), labels, chosen)
            for said, count in enumerate(counts[true])
        )
        rows.append(f'<tr><th scope="row">{escape(label)}</th>{cells}</tr>')
    caption = "Rows: true label. Columns: predicted label. Press a cell to see its faces."
    return (
        f'<table class="mien-matrix"><caption>{caption}</caption>'
        f"<thead><tr><td></td>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"
    )


def _cell(
    count: int, share: float, place: tuple[int, int], labels: Sequence[str], chosen: tuple[int | None, int | None]
) -> str:
    true, said = place
    name = escape(f"true {labels[true]}, predicted {labels[said]}: {count} ({share:.0%})")
    message = sender({"true": true, "predicted": said}, f"{true}-{said}")
    now = str(place == chosen).lower()
    return (
        f'<td><button class="mien-cell" style="--share:{share:.1%}" aria-pressed="{now}" '
        f'aria-label="{name}" title="{name}" {message}><b>{count:,}</b><small>{share:.0%}</small></button></td>'
    )


def gallery(
    images: NDArray[np.uint8],
    matches: NDArray[np.int64],
    page: int,
    chosen: int,
    describe: Callable[[int], tuple[str, bool]],
) -> str:
    """A page of faces as buttons, and buttons to the other pages.

    Args:
        images: uint8 (N, 48, 48), of the whole split.
        matches: int64 (M,), the numbers of the faces of all pages.
        page: which page, from 0; where there is none such, the nearest.
        chosen: the number of the face that is shown large.
        describe: what to call a face, by its number, and whether to frame it as an error.
    """
    if not len(matches):
        return notice("No face matches these filters.")
    pages = -(-len(matches) // PAGE)
    page = min(max(page, 0), pages - 1)
    shown = matches[page * PAGE : (page + 1) * PAGE].tolist()
    cells = "".join(_thumb(images[number], number, number == chosen, *describe(number)) for number in shown)
    return f'{_pager(page, pages) if pages > 1 else ""}<div class="mien-thumbs">{cells}</div>'


def _thumb(image: NDArray[np.uint8], number: int, chosen: bool, name: str, wrong: bool) -> str:
    return (
        f'<button class="mien-thumb{" wrong" if wrong else ""}" aria-pressed="{str(chosen).lower()}" '
        f'title="{escape(name)}" {sender({"face": number}, f"face-{number}")}>{picture(image, name)}</button>'
    )


def _pager(page: int, pages: int) -> str:
    """Buttons to the first, previous, next and last of ``pages`` pages; ``page`` counts from 0."""
    steps = (
        ("First page", "«", 0, page > 0),
        ("Previous page", "‹", page - 1, page > 0),
        ("Next page", "›", page + 1, page + 1 < pages),
        ("Last page", "»", pages - 1, page + 1 < pages),
    )
    made = [
        f'<button class="mien-plain" aria-label="{name}" title="{name}" {sender({"page": to}, name)}'
        f"{'' if active else ' disabled'}>{sign}</button>"
        for name, sign, to, active in steps
    ]
    where = f"<span>Page {page + 1:,} of {pages:,}</span>"
    return f'<nav class="mien-pager" aria-label="Pages of faces">{"".join(made[:2])}{where}{"".join(made[2:])}</nav>'


def notice(text: str) -> str:
    """A note in a box, such as why something cannot be shown."""
    return f'<p class="mien-notice" role="status">{escape(text)}</p>'


def table(head: Sequence[str], rows: Sequence[Sequence[str]], caption: str) -> str:
    """A table whose first column names its rows."""
    columns = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join(
        f'<tr><th scope="row">{escape(first)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in rest)}</tr>'
        for first, *rest in rows
    )
    return (
        f'<div class="mien-scroll"><table class="mien-table"><caption>{escape(caption)}</caption>'
        f"<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table></div>"
    )
