"""A part of Training held out, to make choices without any test split."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mien.data.faces import USAGES, Faces, Usage, pixel_keys
from mien.errors import DataError


def fold(faces: Faces, number: int, count: int) -> Faces:
    """The Training faces of a set, of which one part in ``count`` becomes the split ``test``.

    The parts are the same on every call. Each class is spread over them evenly; faces with the same pixels stay
    together, so that no face of a part is in the others too.

    Args:
        faces: a set with Training faces; its other faces are left out.
        number: which part, from 1.
        count: how many parts.

    Raises:
        DataError: where there is no such part, no Training face, or the part has none.
    """
    if not 1 <= number <= count or count < 2:
        raise DataError(f"there is no fold {number} of {count}", faces.name, "For example: --fold 1/5")
    training = faces.select(Usage.TRAINING)
    keys = pixel_keys(training.images)
    label = dict(zip(keys[::-1], training.emotion[::-1].tolist(), strict=True))  # of the first face with these pixels
    ordered = sorted(label, key=lambda key: (label[key], key))
    part = {key: place % count for place, key in enumerate(ordered)}
    held = np.fromiter((part[key] == number - 1 for key in keys), dtype=bool, count=len(keys))
    if not held.any() or held.all():
        raise DataError(f"{len(ordered)} different faces are too few for {count} folds", faces.name)
    usage = np.where(held, USAGES.index(Usage.TEST), USAGES.index(Usage.TRAINING)).astype(np.uint8)
    return replace(training, usage=usage, name=f"{faces.name}, fold {number} of {count} of Training")
