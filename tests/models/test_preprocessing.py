"""The one transform from pixels to the network's input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from mien.models.preprocessing import Preprocessing, prepare
from mien.training.loader import scale


@pytest.mark.parametrize(("scaling", "low", "high"), [("unit", 0.0, 1.0), ("signed", -1.0, 1.0)])
def test_black_and_white_meet_the_ends_of_the_range(scaling: str, low: float, high: float) -> None:
    images = np.zeros((2, 48, 48), np.uint8)
    images[0, 3, 5] = 255
    images[1, 0, 0] = 51
    ready = prepare(images, Preprocessing(scaling=scaling))
    assert ready.shape == (2, 1, 48, 48)
    assert ready.dtype == np.float32
    assert ready[0, 0, 3, 5] == pytest.approx(high, abs=1e-7)
    assert ready[0, 0, 5, 3] == low
    assert ready[1, 0, 0, 0] == pytest.approx(low + (high - low) / 5, abs=1e-6)


@pytest.mark.parametrize("scaling", ["unit", "signed"])
def test_training_sees_what_prediction_sees(scaling: str) -> None:
    values = np.resize(np.arange(256, dtype=np.uint8), (1, 48, 48))
    how = Preprocessing(scaling=scaling)
    trained = scale(torch.from_numpy(values)[:, None], how).numpy()
    assert np.abs(trained - prepare(values, how)).max() < 1.2e-7


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((1, 48, 48), np.float32),
        np.zeros((48, 48), np.uint8),
        np.zeros((1, 48, 47), np.uint8),
        np.zeros((1, 1, 48, 48), np.uint8),
    ],
)
def test_other_types_and_shapes_are_refused(images: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"faces must be uint8 \(N, 48, 48\), not"):
        prepare(images, Preprocessing())


def test_other_settings_are_refused() -> None:
    for settings in ({"scaling": "imagenet"}, {"side": 64}, {"mean": 0.5}):
        with pytest.raises(ValidationError):
            Preprocessing.model_validate(settings)
