"""Augmentation: the same maps as Keras' ImageDataGenerator, drawn from the same ranges."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.ndimage import map_coordinates

from mien.training.augmentation import Augment, Draw, affine, alter, draw, erase, jitter_light

ALL = Augment(rotation=20, shift=0.15, shear=15, zoom=0.2, flip=True)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def the_map(**values: float) -> Draw:
    """One face's map; what is not named does nothing."""
    defaults = {"theta": 0.0, "tx": 0.0, "ty": 0.0, "shear": 0.0, "zx": 1.0, "zy": 1.0}
    tensors = {name: torch.tensor([float(values.get(name, value))]) for name, value in defaults.items()}
    return Draw(**tensors, flip=torch.tensor([bool(values.get("flip_horizontal", False))]))


def naive(image: NDArray[np.float32], how: Draw, index: int) -> NDArray[np.float64]:
    """Pixel by pixel: mirror, zoom, shear, shift and rotate the place about the centre, and look there."""
    side = image.shape[0]
    one = {field.name: float(getattr(how, field.name)[index]) for field in fields(how)}
    y, x = np.mgrid[:side, :side] - (side - 1) / 2
    x = (-x if one["flip"] else x) * one["zx"]
    y = y * one["zy"]
    shear, theta = np.radians(one["shear"]), np.radians(one["theta"])
    x, y = x - np.sin(shear) * y + one["tx"], np.cos(shear) * y + one["ty"]
    x, y = np.cos(theta) * x - np.sin(theta) * y, np.sin(theta) * x + np.cos(theta) * y
    centre = (side - 1) / 2
    found: NDArray[np.float64] = map_coordinates(
        image.astype(np.float64), [y + centre, x + centre], order=1, mode="nearest"
    )
    return found


def test_each_map_is_keras(shared: Path) -> None:
    reference = np.load(shared / "reference" / "imagedatagenerator_keras.npz")
    image = torch.from_numpy(reference["image"])[None, None]
    maps = json.loads(str(reference["params"]))
    assert len(maps) == 7
    for number, values in enumerate(maps):
        found = affine(image, the_map(**values))[0, 0].numpy()
        assert np.abs(found - reference[f"out{number}"]).max() < 1e-5, values


@pytest.mark.parametrize("seed", [0, 1])
def test_a_batch_of_drawn_maps_is_what_a_loop_over_pixels_gives(seed: int) -> None:
    how = draw(ALL, 12, 48, generator(seed))
    assert 0 < int(how.flip.sum()) < 12
    images = torch.rand(12, 1, 48, 48, generator=generator(seed + 100))
    found = affine(images, how).numpy()
    assert found.shape == (12, 1, 48, 48)
    for index in range(12):
        assert np.abs(found[index, 0] - naive(images[index, 0].numpy(), how, index)).max() < 1e-3


def test_directions() -> None:
    image = torch.zeros(1, 1, 48, 48)
    image[0, 0, 20, 30] = 1
    for values, place in [
        ({"tx": 5}, (20, 25)),
        ({"ty": 4}, (16, 30)),
        ({"flip_horizontal": True}, (20, 17)),
        ({"theta": 90}, (17, 20)),
    ]:
        found = affine(image, the_map(**values))[0, 0]  # type: ignore[arg-type]
        assert divmod(int(found.argmax()), 48) == place, values
        assert float(found.max()) == pytest.approx(1, abs=1e-4)


def test_no_augmentation_changes_nothing() -> None:
    images = torch.rand(3, 1, 48, 48)
    how = draw(Augment(), 3, 48, generator(0))
    assert torch.equal(how.zx, torch.ones(3))
    assert not how.flip.any()
    assert torch.allclose(affine(images, how), images, atol=1e-5)


def test_draws_are_uniform_in_their_ranges_and_independent() -> None:
    how = draw(ALL, 40_000, 48, generator(3))
    ranges = {
        "theta": (-20, 20),
        "tx": (-7.2, 7.2),
        "ty": (-7.2, 7.2),
        "shear": (-15, 15),
        "zx": (0.8, 1.2),
        "zy": (0.8, 1.2),
    }
    columns = []
    for name, (low, high) in ranges.items():
        values = (getattr(how, name).double().numpy() - low) / (high - low)
        assert -1e-6 <= values.min() < 0.001
        assert 0.999 < values.max() <= 1 + 1e-6
        counts = np.histogram(values, 20, (0, 1))[0]
        assert np.abs(counts / 2000 - 1).max() < 0.12, name
        columns.append(values)
    columns.append(how.flip.double().numpy())
    assert columns[-1].mean() == pytest.approx(0.5, abs=0.015)
    assert np.abs(np.corrcoef(columns) - np.eye(7)).max() < 0.025


def test_the_seed_decides() -> None:
    first, again, other = (draw(ALL, 8, 48, generator(seed)) for seed in (4, 4, 5))
    for field in fields(Draw):
        assert torch.equal(getattr(first, field.name), getattr(again, field.name))
    assert not torch.equal(first.theta, other.theta)


def test_flips_do_not_shift_the_other_draws() -> None:
    """Turning the mirror off leaves every other map as it was."""
    with_flips, without = (draw(ALL.model_copy(update={"flip": on}), 50, 48, generator(1)) for on in (True, False))
    assert torch.equal(with_flips.zy, without.zy)
    assert not without.flip.any()


@pytest.mark.parametrize(
    "values", [{"zoom": 1.0}, {"zoom": -0.1}, {"shift": 2}, {"rotation": 181}, {"shear": 90}, {"blur": 1}]
)
def test_senseless_ranges_are_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Augment.model_validate(values)


def gray(n: int = 400, side: int = 48) -> torch.Tensor:
    """Faces of noise around different grays, float (n, 1, side, side) in [0, 255]."""
    middle = torch.linspace(40, 215, n).view(n, 1, 1, 1)
    return (middle + 10 * torch.randn(n, 1, side, side, generator=generator(0))).clamp(0, 255)


def test_light_changes_each_face_by_a_factor_and_an_offset_in_their_ranges() -> None:
    images = gray()
    found = jitter_light(images, Augment(brightness=0.1, contrast=0.2), generator(1))
    assert 0 <= found.min() <= found.max() <= 255
    mean, lit = images.mean((1, 2, 3)), found.mean((1, 2, 3))
    inside = (found.amin((1, 2, 3)) > 0) & (found.amax((1, 2, 3)) < 255)
    assert inside.sum() > 300
    offset = (lit - mean)[inside]
    factor = (found.std((1, 2, 3)) / images.std((1, 2, 3)))[inside]
    assert 12 < offset.abs().max() <= 12.75 + 1e-3
    assert 0.8 - 1e-4 <= factor.min() < 0.81 < 1.19 < factor.max() <= 1.2 + 1e-4
    one = int(inside.nonzero()[0])
    expected = (images[one] - mean[one]) * (found[one].std() / images[one].std()) + lit[one]
    assert torch.allclose(found[one], expected, atol=1e-2)


def test_erasing_fills_one_rectangle_with_the_mean() -> None:
    images = gray()
    found = erase(images, 0.3, generator(2))
    changed = (found != images)[:, 0]  # (400, 48, 48)
    hit = changed.flatten(1).any(1)
    assert 0.2 < hit.float().mean() < 0.4
    sides, whole = [], 0
    for face in hit.nonzero()[:, 0].tolist():
        rows, columns = changed[face].any(1).nonzero()[:, 0], changed[face].any(0).nonzero()[:, 0]
        block = found[face, 0, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert torch.equal(block, torch.full_like(block, float(images[face].mean())))
        sides.append((len(rows), len(columns)))
        inside = rows[0] > 0 and columns[0] > 0 and rows[-1] < 47 and columns[-1] < 47
        if inside:  # not cut off by the edge
            whole += 1
            assert 0.02 * 48**2 * 0.7 < len(rows) * len(columns) < 0.2 * 48**2 * 1.3
            assert 1 / 2.6 < len(rows) / len(columns) < 2.6
    assert whole > 25
    assert len(set(sides)) > 50
    assert torch.equal(erase(images, 0.0, generator(2)), images)


def test_all_together_follows_from_the_generator_and_stays_in_range() -> None:
    how = ALL.model_copy(update={"brightness": 0.2, "contrast": 0.2, "erase": 0.25})
    images = gray(50)
    found = alter(images, how, generator(3))
    assert torch.equal(found, alter(images, how, generator(3)))
    assert not torch.equal(found, alter(images, how, generator(4)))
    assert 0 <= found.min() <= found.max() <= 255


def test_without_light_and_erasing_only_the_affine_map_is_drawn() -> None:
    """So that recipes without these still give the runs that they gave before there were any."""
    images = gray(9)
    expected = affine(images, draw(ALL, 9, 48, generator(5)))
    assert torch.equal(alter(images, ALL, generator(5)), expected)
