"""Temperature scaling: make a model's confidences match its accuracy.

Source: Guo et al. 2017, arXiv:1706.04599, section 4.2.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mien.errors import require
from mien.models.bundle import Bundle, Calibration
from mien.models.onnx.session import Session
from mien.models.spec import Head

if TYPE_CHECKING:
    from mien.data.faces import Faces

COLDEST, WARMEST = 0.05, 20.0
"""The temperatures between which the best is sought."""


def calibrated(bundle: Bundle, faces: Faces) -> Bundle:
    """The bundle with temperatures fitted on labelled faces that it was not trained on.

    The first head's is fitted to the labels, the second's to the FER+ votes. Where every face is classified correctly,
    as on a few easy ones, the likelihood grows for ever as the temperature falls: then it stays at 1 at least.
    """
    logits = Session(bundle).logits(faces.images)
    labels = np.eye(len(faces.labels), dtype=np.float32)[faces.emotion]
    targets = {head: faces.vote_shares() if head == Head.VOTES else labels for head in logits}
    found = {head: fit_temperature(rows, targets[head]) for head, rows in logits.items()}
    if (logits[Head.LABELS].argmax(1) == faces.emotion).all():
        found[Head.LABELS] = max(1.0, found[Head.LABELS])
    calibration = Calibration(temperature=found[Head.LABELS], votes_temperature=found.get(Head.VOTES, 1.0))
    return replace(bundle, card=bundle.card.model_copy(update={"calibration": calibration}), sha256="", path=None)


def fit_temperature(logits: NDArray[np.float32], targets: NDArray[np.float32]) -> float:
    """The temperature at which softmax(logits / temperature) has the least cross-entropy with the targets.

    Args:
        logits: float (N, classes).
        targets: float (N, classes), each row a distribution, or part of one, in which case the face counts for less.
    """
    optimize, special = require("scipy.optimize", "train"), require("scipy.special", "train")
    logits = logits.astype(np.float64)

    def loss(log_temperature: float) -> float:
        return -float((targets * special.log_softmax(logits / np.exp(log_temperature), axis=1)).sum())

    found = optimize.minimize_scalar(loss, bounds=(np.log(COLDEST), np.log(WARMEST)), method="bounded")
    return float(np.exp(found.x))
