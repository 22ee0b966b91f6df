"""Grad-CAM for the page, where torch is there; without it the page says so."""

from __future__ import annotations

from html import escape
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import MienError, require
from mien.models.bundle import Bundle
from mien.serving.page.html import image_tag, notice

_HOT = np.array([224, 76, 24], np.float32)


def gradcam_image(bundle: Bundle, image: NDArray[np.uint8], said: int, label: str) -> str:
    """Grad-CAM of a class for a gray face, uint8 (48, 48), as HTML; or why there is none."""
    try:
        require("torch", "train")
        attribution: Any = require("mien.evaluation.gradcam", "train")
        found = attribution.grad_cam(bundle, image[None], np.array([said]))
    except MienError as error:
        return notice(f"Grad-CAM cannot be shown: {error}")
    heat = found.enlarged()[0][..., None] * 0.75  # (48, 48, 1)
    mixed = image[..., None] * (1 - heat) + _HOT * heat  # (48, 48, 3)
    shown = image_tag(np.rint(mixed).astype(np.uint8), f"Grad-CAM for {label}", "large")
    note = escape(f"Evidence for {label}. {found.layer.note}")
    return f"<figure>{shown}<figcaption>{note}</figcaption></figure>"
