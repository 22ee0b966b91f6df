"""A data set in figures."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from mien.data.builder import TRAINING
from mien.data.faces import SIDE, USAGES, Faces, Usage


def describe(faces: Faces) -> dict[str, Any]:
    """The basic figures of a data set, ready for JSON.

    Returns:
        ``name``, ``fingerprint``, ``rows``, ``splits`` (split -> faces), ``labels`` (split -> class -> faces),
        ``unlabelled``, ``votes`` (whether there are FER+ votes), ``images`` (``size`` in pixels; ``mean``, ``std``,
        ``min`` and ``max`` in gray levels 0 to 255; ``constant``, images of a single gray), ``leaked`` (test split ->
        faces whose pixels are also in Training), ``skipped`` (one line for each row left out) and
        ``notes`` (what was decided in reading).
    """
    parts = {name: faces.take(faces.usage == USAGES.index(Usage(name))) for name in faces.splits()}
    return {
        "name": faces.name,
        "fingerprint": faces.fingerprint,
        "rows": len(faces),
        "splits": faces.splits(),
        "labels": {name: part.label_counts() for name, part in parts.items()},
        "unlabelled": int((faces.emotion < 0).sum()),
        "votes": faces.votes is not None,
        "images": _image_figures(faces),
        "leaked": _leaked(faces, parts),
        "skipped": list(faces.skipped),
        "notes": list(faces.notes),
    }


def _image_figures(faces: Faces) -> dict[str, Any]:
    mean, std = cv2.meanStdDev(faces.images.reshape(-1, SIDE))
    low, high = faces.images.min(axis=(1, 2)), faces.images.max(axis=(1, 2))  # (N,) each
    return {
        "size": [SIDE, SIDE],
        "mean": round(float(mean.item()), 4),
        "std": round(float(std.item()), 4),
        "min": int(low.min()),
        "max": int(high.max()),
        "constant": int(np.count_nonzero(low == high)),
    }


def _leaked(faces: Faces, parts: dict[str, Faces]) -> dict[str, int]:
    if not (faces.usage == TRAINING).any():
        return {}
    training = parts[Usage.TRAINING]
    tests = {name: part for name, part in parts.items() if name != Usage.TRAINING}
    return {name: int(np.count_nonzero(~part.clean(training))) for name, part in tests.items()}
