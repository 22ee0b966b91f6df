"""From a gray face to the network's input: the one transform behind training, evaluation, prediction and export."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

SCALINGS: dict[str, tuple[float, float]] = {"unit": (1 / 255, 0.0), "signed": (2 / 255, -1.0)}
"""Factor and offset of each scaling: unit gives [0, 1], signed gives [-1, 1]."""


class Preprocessing(BaseModel):
    """How pixels become the network's input; part of every bundle."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    side: Literal[48] = 48
    """Height and width of the input, in pixels."""
    scaling: Literal["unit", "signed"] = "unit"
    """``unit``: [0, 255] to [0, 1]; ``signed``: to [-1, 1], as the ImageNet weights were trained."""

    @property
    def factor_offset(self) -> tuple[float, float]:
        """The scaling as ``pixels * factor + offset``."""
        return SCALINGS[self.scaling]


def prepare(images: NDArray[np.uint8], how: Preprocessing) -> NDArray[np.float32]:
    """Turn gray faces, uint8 (N, 48, 48), into the network's input, float32 (N, 1, 48, 48).

    Raises:
        ValueError: where the array is of another type or shape.
    """
    if images.dtype != np.uint8 or images.ndim != 3 or images.shape[1:] != (how.side, how.side):
        raise ValueError(f"faces must be uint8 (N, {how.side}, {how.side}), not {images.dtype} {images.shape}")
    factor, offset = how.factor_offset
    return (images.astype(np.float32) * np.float32(factor) + np.float32(offset))[:, None]
