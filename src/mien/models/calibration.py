"""Fit a model's probabilities on faces that it was not trained on: temperatures, and the default output of two heads.

Sources: temperature scaling, Guo et al. 2017, arXiv:1706.04599, section 4.2; logit adjustment, Menon et al. 2021,
arXiv:2007.07314.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mien.emotions import Emotion, Output
from mien.errors import require
from mien.models.bundle import Answer, Bundle, Calibration
from mien.models.onnx.session import Session
from mien.models.spec import Head

if TYPE_CHECKING:
    from mien.data.faces import Faces

COLDEST, WARMEST = 0.05, 20.0
"""The temperatures between which the best is sought."""
WEIGHTS, EXPONENTS = np.arange(0, 0.55, 0.05).round(2), np.arange(0, 0.8125, 0.0625)
"""The weights and exponents among which the default output is chosen."""
LOSS = 0.025
"""How much of the FER+ agreement that can be had the default output may give up for balance."""
MEAN5 = (Emotion.ANGRY, Emotion.HAPPY, Emotion.SAD, Emotion.SURPRISE, Emotion.NEUTRAL)
"""The classes of photos whose mean recall is ``mean5``: Disgust and Fear are rare there, and their labels doubtful."""

Logits = Mapping[Head, NDArray[np.floating]]
"""Each head's logits, float (N, C)."""


@dataclass(frozen=True)
class Photos:
    """Faces of ordinary photos: each head's logits, float (N, C), and the labels, int64 (N,)."""

    logits: Logits
    labels: NDArray[np.int64]


def calibrated(bundle: Bundle, faces: Faces, photos: Photos | None = None) -> Bundle:
    """The bundle with temperatures and default output fitted on labelled faces that it was not trained on.

    The first head's temperature is fitted to the labels, the second's to the FER+ votes. Where every face is classified
    correctly, as on a few easy ones, the likelihood grows for ever as the temperature falls: then it stays at 1 at
    least.

    Args:
        bundle: the model, with the shares of its training data (:func:`with_shares`).
        faces: the validation split.
        photos: faces of photos by which the default output is chosen as well.
    """
    logits = Session(bundle).logits(faces.images)
    labels = np.eye(len(faces.labels), dtype=np.float32)[faces.emotion]
    targets = {head: faces.vote_shares() if head == Head.VOTES else labels for head in logits}
    found = {head: fit_temperature(rows, targets[head]) for head, rows in logits.items()}
    if (logits[Head.LABELS].argmax(1) == faces.emotion).all():
        found[Head.LABELS] = max(1.0, found[Head.LABELS])
    shares = bundle.card.calibration.shares
    calibration = Calibration(
        temperature=found[Head.LABELS], votes_temperature=found.get(Head.VOTES, 1.0), shares=shares
    )
    if len(logits) == 2:
        calibration = fit_answer(calibration, logits, faces, photos)[0]
    return _with_calibration(bundle, calibration)


def _with_calibration(bundle: Bundle, calibration: Calibration) -> Bundle:
    return replace(bundle, card=bundle.card.model_copy(update={"calibration": calibration}), sha256="", path=None)


def with_shares(bundle: Bundle, training: Iterable[Faces]) -> Bundle:
    """The bundle with the shares of the classes in its training data, as each of its outputs presupposes them.

    Those of FER2013 are of the labels, those of FER+ of the votes, the default's of faces by their FER+ majority, which
    :func:`fit_answer` adjusts. One face more is counted of each class, so that none has a share of 0.

    Args:
        bundle: the model.
        training: the faces, in parts.
    """
    classes, two = len(bundle.card.labels), len(bundle.card.heads) == 2
    labels, votes, majorities = np.ones(classes), np.ones(classes), np.ones(classes)
    for part in training:
        labels += np.bincount(part.emotion, minlength=classes)
        if two:
            majority, clear = part.majority()
            votes += part.vote_shares().sum(0)
            majorities += np.bincount(majority[clear], minlength=classes)
    every = {Output.FER2013: labels, Output.FERPLUS: votes, Output.DEFAULT: majorities}
    chosen = every if two else {Output.FER2013: labels, Output.DEFAULT: labels}
    shares = {output: tuple((counts / counts.sum()).tolist()) for output, counts in chosen.items()}
    return _with_calibration(bundle, bundle.card.calibration.model_copy(update={"shares": shares}))


def fit_answer(
    calibration: Calibration, logits: Logits, faces: Faces, photos: Photos | None = None
) -> tuple[Calibration, list[dict[str, Any]]]:
    """Choose the default output of a model with two heads.

    Of all candidates that agree with the FER+ majority on at most :data:`LOSS` fewer faces than the best does, it is
    the one with the greatest sum of class-balanced agreement, counted twice since frequent classes decide the others,
    accuracy on the labels and, with photos, the mean of their accuracy and ``mean5``. Its temperature is fitted to the
    majority. It stays the FER+ head where no face has a majority.

    Args:
        calibration: the heads' temperatures, and the shares of the classes.
        logits: of the faces.
        faces: N faces with labels and votes.
        photos: other faces to choose by.

    Returns:
        The calibration with the answer, and the figures of each candidate: ``weight``, ``exponent``, ``accuracy``,
        ``agreement``, ``balanced_agreement`` and, with photos, ``photos`` and ``mean5``.
    """
    majority, clear = faces.majority()
    if not clear.any() or Output.FERPLUS not in calibration.shares:
        return calibration, []
    rows = []
    for weight, exponent in product(WEIGHTS.tolist(), EXPONENTS.tolist()):
        one = calibration.model_copy(update={"answer": Answer(weight=weight, exponent=exponent)})
        predicted = one.combine(logits).argmax(1)
        row = {"weight": weight, "exponent": exponent, "accuracy": float((predicted == faces.emotion).mean())}
        row["agreement"] = float((predicted == majority)[clear].mean())
        row["balanced_agreement"] = mean_recall(predicted[clear], majority[clear])
        if photos is not None:
            seen = one.combine(photos.logits).argmax(1)
            row["photos"] = float((seen == photos.labels).mean())
            row["mean5"] = mean_recall(seen, photos.labels, MEAN5)
        rows.append(row)
    least = max(row["agreement"] for row in rows) - LOSS
    best = max((row for row in rows if row["agreement"] >= least), key=_score)
    return _finished(calibration, Answer(**{key: best[key] for key in ("weight", "exponent")}), logits, faces), rows


def _score(row: dict[str, Any]) -> float:
    on_photos = (row["photos"] + row["mean5"]) / 2 if "mean5" in row else 0.0
    return float(2 * row["balanced_agreement"] + row["accuracy"] + on_photos)


def _finished(calibration: Calibration, answer: Answer, logits: Logits, faces: Faces) -> Calibration:
    """The calibration with the answer, its temperature fitted to the majority and its presupposed shares adjusted."""
    majority, clear = faces.majority()
    one = calibration.model_copy(update={"answer": answer})
    combined = one.combine(logits)[clear]
    temperature = fit_temperature(combined, np.eye(combined.shape[1], dtype=np.float32)[majority[clear]])
    if (combined.argmax(1) == majority[clear]).all():
        temperature = max(1.0, temperature)
    answer = answer.model_copy(update={"temperature": temperature})
    votes, majorities = (np.array(calibration.shares[output]) for output in (Output.FERPLUS, Output.DEFAULT))
    adjusted = majorities / votes ** (answer.exponent / temperature)
    shares = calibration.shares | {Output.DEFAULT: tuple((adjusted / adjusted.sum()).tolist())}
    return calibration.model_copy(update={"answer": answer, "shares": shares})


def mean_recall(
    predicted: NDArray[np.integer], labels: NDArray[np.integer], classes: Iterable[int] | None = None
) -> float:
    """The mean of the recalls, 0 to 1, of these classes, without them of all that occur among the labels, int (N,)."""
    chosen = np.unique(labels) if classes is None else np.intersect1d(labels, list(classes))
    return float(np.mean([(predicted[labels == one] == one).mean() for one in chosen]))


def fit_temperature(logits: NDArray[np.floating], targets: NDArray[np.float32]) -> float:
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
