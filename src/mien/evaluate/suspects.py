"""Faces whose label is in doubt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.data.faces import Faces
from mien.emotions import FERPLUS_OF_EMOTION

MOST_VOTES = 1
"""How many FER+ votes a suspect label may have."""


@dataclass(frozen=True)
class Suspects:
    """Which labels are in doubt, and by what.

    Attributes:
        mask: bool (N,), True where the face's label is suspect.
        how: what makes a label suspect, as half a sentence.
    """

    mask: NDArray[np.bool_]
    how: str


def suspect_labels(faces: Faces) -> Suspects:
    """The labels that FER+'s crowd contradicts, of faces that all have one.

    Raises:
        DataError: where the faces have no votes, or their classes are not the seven emotions.
    """
    seen, clear = faces.majority()
    assert faces.votes is not None
    counts = faces.votes[:, FERPLUS_OF_EMOTION]  # (N, 7)
    mine = counts[np.arange(len(faces)), faces.emotion]
    how = f"the label got at most {MOST_VOTES} FER+ vote, and another of the seven emotions more than half of all"
    return Suspects(clear & (seen != faces.emotion) & (mine <= MOST_VOTES), how)
