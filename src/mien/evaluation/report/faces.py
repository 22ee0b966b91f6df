"""The faces of a report: which of them it holds, and how they are packed into the file."""

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
"""How many faces a file holds: all of FER2013's test splits, and less than 5 MB."""
COLUMNS = 60
QUALITY = 70
"""Of the sprite sheet's WebP: hardly visible artefacts, at about 450 bytes a face."""
MOST_ERRORS, MOST_PAIRS, MOST_OF_A_PAIR, MOST_SUSPECTS = 24, 10, 6, 24


@dataclass(frozen=True)
class FaceLists:
    """The faces that the sections list.

    Attributes:
        faces: int64 by section: ``errors`` (the most confident), ``by_votes`` and ``by_model`` (suspect labels).
        pairs: the confused pairs with the most faces: ``true``, ``predicted``, ``count``, and ``faces``, int64, the
            most confident.
    """

    faces: dict[str, NDArray[np.int64]]
    pairs: list[dict[str, Any]]

    @property
    def all(self) -> NDArray[np.int64]:
        """Every listed face once, rising."""
        return np.unique(np.concatenate([*self.faces.values(), *(pair["faces"] for pair in self.pairs)]))

    def within(self, chosen: NDArray[np.int64]) -> dict[str, Any]:
        """The lists for the script: each face by its index in ``chosen``, which rises and holds all of them."""
        pairs = [pair | {"faces": np.searchsorted(chosen, pair["faces"]).tolist()} for pair in self.pairs]
        return {"pairs": pairs} | {name: np.searchsorted(chosen, part).tolist() for name, part in self.faces.items()}


def lists(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating], suspects: dict[str, NDArray[np.int64]]
) -> FaceLists:
    """The faces that the sections list, of N faces.

    Args:
        labels: int (N,), 0 to C - 1.
        probabilities: float (N, C).
        suspects: int64 by name, faces with suspect labels, the most suspect first.
    """
    predicted, classes = probabilities.argmax(1), probabilities.shape[1]
    order = np.argsort(-probabilities.max(1), kind="stable")
    errors = order[predicted[order] != labels[order]]
    cells = labels * classes + predicted
    counts = np.bincount(cells[errors], minlength=classes**2)
    pairs = [
        {
            "true": int(cell) // classes,
            "predicted": int(cell) % classes,
            "count": int(counts[cell]),
            "faces": errors[cells[errors] == cell][:MOST_OF_A_PAIR],
        }
        for cell in np.argsort(-counts, kind="stable")[:MOST_PAIRS]
        if counts[cell]
    ]
    return FaceLists({"errors": errors[:MOST_ERRORS]} | {k: v[:MOST_SUSPECTS] for k, v in suspects.items()}, pairs)


def choose(
    labels: NDArray[np.integer], probabilities: NDArray[np.floating], most: int = MOST_FACES
) -> NDArray[np.int64]:
    """Which faces a file holds, int64 (M,), M at most ``most``, rising.

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


def sprite_sheet(images: NDArray[np.uint8]) -> bytes:
    """All faces, uint8 (N, 48, 48), as one lossy WebP, 60 a row."""
    rows = max(1, -(-len(images) // COLUMNS))
    cells = np.zeros((rows * COLUMNS, SIDE, SIDE), np.uint8)
    cells[: len(images)] = images
    whole = cells.reshape(rows, COLUMNS, SIDE, SIDE).swapaxes(1, 2).reshape(rows * SIDE, COLUMNS * SIDE)
    buffer = io.BytesIO()
    Image.fromarray(whole).save(buffer, "WEBP", quality=QUALITY, method=4)
    return buffer.getvalue()


@dataclass(frozen=True)
class Gallery:
    """The faces that a file holds.

    Attributes:
        faces: M faces.
        probabilities: float (M, C).
        attribution: maps of the predicted class for each, or why there are none.
    """

    faces: Faces
    probabilities: NDArray[np.floating]
    attribution: Attribution | str

    def to_dict(self) -> dict[str, Any]:
        """What the script needs: arrays as base64 of little-endian integers, row by row.

        ``probabilities`` are uint16 in 1/10,000; ``cam`` uint8 in 1/255 of each map's maximum.
        """
        return {
            "labels": list(self.faces.labels),
            "colors": colors(self.faces.labels),
            "side": SIDE,
            "spriteColumns": COLUMNS,
            "count": len(self.faces),
            "rows": self.faces.row.tolist(),
            "true": _packed(self.faces.emotion, "<u1"),
            "predicted": _packed(self.probabilities.argmax(1), "<u1"),
            "probabilities": _packed(np.rint(self.probabilities * 10_000), "<u2"),
            "voteNames": list(FERPLUS),
            "votes": None if self.faces.votes is None else _packed(self.faces.votes, "<u1"),
            "cam": self._cam(),
        }

    def _cam(self) -> dict[str, Any] | None:
        if isinstance(self.attribution, str):
            return None
        layer = self.attribution.layer
        grid = {"height": layer.shape[0], "width": layer.shape[1], "start": layer.start, "step": layer.step}
        return grid | {"maps": _packed(np.rint(self.attribution.shares * 255), "<u1")}


def _packed(array: NDArray[Any], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array.astype(kind)).tobytes()).decode()
