"""The faces of a report: which ones it holds, and how they are packed into a page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.data.faces import SIDE, Faces
from mien.emotions import FERPLUS
from mien.evaluation.gradcam import Attribution
from mien.evaluation.plots import colors

MOST_FACES = 4000
"""How many faces a page holds: all of FER2013's test splits, and less than 5 MB."""
COLUMNS = 60
QUALITY = 70
"""Of the sheet's WebP: artefacts that can be seen when looked for, at about 450 bytes a face."""
MISTAKES, PAIRS, OF_A_PAIR, SUSPECTS = 24, 10, 6, 24
"""How many faces and pairs the page shows at once."""


@dataclass(frozen=True)
class FaceLists:
    """The faces that a page shows at once, by their numbers.

    Attributes:
        mistakes: int64, the most confident mistakes.
        pairs: the confused pairs with the most faces: ``true``, ``predicted``, ``count``, and ``faces``, int64, a few.
        suspects: int64, faces whose label votes make suspect, the surest first.
        doubted: int64, faces whose label the model doubts, the surest first.
    """

    mistakes: NDArray[np.int64]
    pairs: list[dict[str, Any]]
    suspects: NDArray[np.int64]
    doubted: NDArray[np.int64]

    @property
    def faces(self) -> NDArray[np.int64]:
        """All of them, rising, each once."""
        pairs = [pair["faces"] for pair in self.pairs]
        return np.unique(np.concatenate([self.mistakes, self.suspects, self.doubted, *pairs]))

    def within(self, chosen: NDArray[np.int64]) -> dict[str, Any]:
        """The lists for the page's script: each face by its place in ``chosen``, which rises and holds all of them."""
        places = [pair | {"faces": np.searchsorted(chosen, pair["faces"]).tolist()} for pair in self.pairs]
        others = {name: getattr(self, name) for name in ("mistakes", "suspects", "doubted")}
        return {"pairs": places} | {name: np.searchsorted(chosen, part).tolist() for name, part in others.items()}


def lists(
    labels: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    suspects: NDArray[np.int64],
    doubted: NDArray[np.int64],
) -> FaceLists:
    """What a page shows at once of N faces.

    Args:
        labels: int (N,), 0 to C - 1.
        probabilities: float (N, C).
        suspects: int64, faces whose label votes make suspect, the surest first.
        doubted: int64, faces whose label the model doubts, the surest first.
    """
    wrong = np.flatnonzero(probabilities.argmax(1) != labels)
    mistakes = _by_confidence(wrong, probabilities)[:MISTAKES]
    return FaceLists(mistakes, _confused_pairs(labels, probabilities), suspects[:SUSPECTS], doubted[:SUSPECTS])


def _confused_pairs(labels: NDArray[np.integer], probabilities: NDArray[np.floating]) -> list[dict[str, Any]]:
    classes, predicted = probabilities.shape[1], probabilities.argmax(1)
    cells = labels * classes + predicted
    counts = np.bincount(cells[predicted != labels], minlength=classes**2)
    top = [int(cell) for cell in np.argsort(-counts, kind="stable")[:PAIRS] if counts[cell]]
    return [
        {
            "true": cell // classes,
            "predicted": cell % classes,
            "count": int(counts[cell]),
            "faces": _by_confidence(np.flatnonzero(cells == cell), probabilities)[:OF_A_PAIR],
        }
        for cell in top
    ]


def _by_confidence(found: NDArray[np.int64], probabilities: NDArray[np.floating]) -> NDArray[np.int64]:
    return found[np.argsort(-probabilities.max(1)[found], kind="stable")]


def choose(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating], most: int = MOST_FACES
) -> NDArray[np.int64]:
    """Which faces a page holds, int64 (M,), M at most ``most``, rising.

    All where they are few enough; of more, from every cell of the confusion matrix the same number at most, the most
    confident first.
    """
    if len(labels) <= most:
        return np.arange(len(labels))
    confidence = probabilities.max(1)
    cells = labels * probabilities.shape[1] + probabilities.argmax(1)
    order = np.lexsort((-confidence, cells))
    starts = np.r_[0, np.flatnonzero(np.diff(cells[order])) + 1]
    sizes = np.diff(np.r_[starts, len(labels)])
    ranks = np.empty(len(labels), np.int64)
    ranks[order] = np.arange(len(labels)) - np.repeat(starts, sizes)
    cap = int(np.searchsorted(np.cumsum(np.bincount(ranks)), most, side="right"))
    return np.flatnonzero(ranks < cap)


def sheet(images: NDArray[np.uint8]) -> bytes:
    """All faces, uint8 (N, 48, 48), as one lossy WebP, 60 a row."""
    rows = max(1, -(-len(images) // COLUMNS))
    cells = np.zeros((rows * COLUMNS, SIDE, SIDE), np.uint8)
    cells[: len(images)] = images
    whole = cells.reshape(rows, COLUMNS, SIDE, SIDE).swapaxes(1, 2).reshape(rows * SIDE, COLUMNS * SIDE)
    buffer = io.BytesIO()
    Image.fromarray(whole).save(buffer, "WEBP", quality=QUALITY, method=4)
    return buffer.getvalue()


def data_uri(data: bytes, kind: str) -> str:
    """Bytes as a ``data:`` address of a media type."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


@dataclass(frozen=True)
class Gallery:
    """The faces that a page holds.

    Attributes:
        faces: M faces.
        probabilities: float (M, C).
        attribution: maps of the predicted class for each, or why there are none.
    """

    faces: Faces
    probabilities: NDArray[np.floating]
    attribution: Attribution | str

    def to_dict(self) -> dict[str, Any]:
        """What the page's script needs: arrays as base64 of little-endian integers, row by row.

        ``probabilities`` are uint16 in 1/10,000; ``cam`` uint8 in 1/255 of each map's maximum.
        """
        predicted = self.probabilities.argmax(1)
        return {
            "labels": list(self.faces.labels),
            "colors": colors(self.faces.labels),
            "side": SIDE,
            "sheetColumns": COLUMNS,
            "count": len(self.faces),
            "rows": self.faces.row.tolist(),
            "true": _packed(self.faces.emotion, "<u1"),
            "predicted": _packed(predicted, "<u1"),
            "probabilities": _packed(np.rint(self.probabilities * 10_000), "<u2"),
            "voteNames": list(FERPLUS),
            "votes": None if self.faces.votes is None else _packed(self.faces.votes, "<u1"),
            "cam": self._cam(),
        }

    def _cam(self) -> dict[str, Any] | None:
        if isinstance(self.attribution, str):
            return None
        layer = self.attribution.layer
        places = {"height": layer.shape[0], "width": layer.shape[1], "start": layer.start, "step": layer.step}
        return places | {"maps": _packed(np.rint(self.attribution.shares * 255), "<u1")}


def _packed(array: NDArray[Any], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array.astype(kind)).tobytes()).decode()
