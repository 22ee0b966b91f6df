"""Labels that are probably wrong: by a model's held-out probabilities, and by what people voted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mien.data.faces import UNLABELLED, Faces
from mien.emotions import FERPLUS, FERPLUS_OF_EMOTION, LABELS
from mien.errors import require

_EMOTIONS = len(FERPLUS) - 2  # the eight emotions; unknown and "not a face" come after them
NOT_A_FACE = FERPLUS.index("nf")
"""The column of the votes for "not a face" in FER+."""


class Suspect(NamedTuple):
    """A label that is probably wrong.

    Attributes:
        face: the face's number, 0 to N - 1.
        better: the class that it seems to show, such as ``"Sad"`` or FER+'s ``"contempt"``.
        score: how sure that is, 0 to 1.
    """

    face: int
    better: str
    score: float


def by_votes(faces: Faces) -> list[Suspect]:
    """Labels that got at most one FER+ vote where another emotion got more than half of all votes.

    A single vote counts as none, as in the official filtering (Barsoum et al. 2016, arXiv:1608.01041). The score is the
    other emotion's share of the votes less the label's. Faces without a label and those that most voters call no face
    or do not know are passed over.

    Raises:
        DataError: where the set has no votes, or its classes are not the seven emotions.
    """
    shares = faces.vote_shares()
    assert faces.votes is not None
    votes = faces.votes.astype(np.int64)
    total = np.maximum(votes.sum(1), 1)
    numbers = np.arange(len(faces))
    own = votes[numbers, np.array(FERPLUS_OF_EMOTION)[faces.emotion]]  # (N,)
    best, most = votes[:, :_EMOTIONS].argmax(1), votes[:, :_EMOTIONS].max(1)
    found = np.flatnonzero((faces.emotion != UNLABELLED) & (own <= 1) & (most > total / 2))
    score = most / total - shares[numbers, np.maximum(faces.emotion, 0)]
    return _ranked(found, [_NAMES[column] for column in best[found]], score[found])


def by_model(
    faces: Faces, probabilities: NDArray[np.floating], which: NDArray[np.bool_] | NDArray[np.int64]
) -> list[Suspect]:
    """Labels that a model's probabilities contradict, by confident learning (cleanlab).

    Northcutt et al., "Confident Learning: Estimating Uncertainty in Dataset Labels", 2021, arXiv:1911.00068: how many
    labels are wrong is estimated from the confident joint of given and probable labels; that many faces with the lowest
    probability of their own label are suspect. The score is the probability of the most probable other class less that
    of the label, and 0 where it is below 0.

    Args:
        faces: N faces.
        probabilities: float (M, C), rows summing to 1, of M faces. They must be held out: of a model that was not
            trained on these faces, for one that was trained on a wrong label often agrees with it.
        which: which faces these are, a mask bool (N,) or numbers int (M,); those without a label are passed over.

    Raises:
        MissingExtraError: where cleanlab is not installed.
    """
    rows = np.arange(len(faces))[which]
    known = faces.emotion[rows] != UNLABELLED
    rows, certain = rows[known], np.asarray(probabilities, np.float64)[known]
    if not len(rows):
        return []
    labels = faces.emotion[rows]
    wrong = _label_issues(labels, certain)
    own = (np.arange(len(rows)), labels)
    others = certain.copy()
    others[own] = -1.0
    better = others.argmax(1)
    score = np.maximum(others.max(1) - certain[own], 0.0)
    return _ranked(rows[wrong], [faces.labels[label] for label in better[wrong]], score[wrong])


def _label_issues(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.bool_]:
    """bool (M,). cleanlab requires every class among the labels: other columns are left out, and rows scaled."""
    cleanlab = require("cleanlab.filter", "train")
    classes, numbers = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        return np.zeros(len(labels), dtype=bool)
    present = np.maximum(probabilities[:, classes], 1e-12)
    present /= present.sum(1, keepdims=True)
    found = cleanlab.find_label_issues(numbers, present, filter_by="low_self_confidence", n_jobs=1)
    return np.asarray(found, dtype=bool)


def not_faces(faces: Faces) -> NDArray[np.bool_]:
    """bool (N,): where more than half of the FER+ votes are for "not a face".

    Raises:
        DataError: where the set has no votes.
    """
    faces.vote_shares()
    assert faces.votes is not None
    votes = faces.votes.astype(np.int64)
    return votes[:, NOT_A_FACE] * 2 > votes.sum(1)  # type: ignore[no-any-return]


_NAMES = tuple(
    next((label for label, ours in zip(LABELS, FERPLUS_OF_EMOTION, strict=True) if ours == column), word)
    for column, word in enumerate(FERPLUS)
)


def _ranked(found: NDArray[np.int64], better: list[str], score: NDArray[np.floating]) -> list[Suspect]:
    """The surest first; of equally sure ones the first."""
    order = np.lexsort((found, -score))
    return [Suspect(int(found[i]), better[i], round(float(score[i]), 4)) for i in order]
