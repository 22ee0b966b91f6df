"""Augmentation as functions on whole batches of tensors; random numbers come from a CPU generator on every device."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.nn import functional as F


class Augment(BaseModel):
    """Ranges of Keras' ImageDataGenerator, in its units, and what it lacks: brightness, contrast and erasing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rotation: float = Field(default=0.0, ge=0, le=180)
    """Largest rotation either way, degrees."""
    shift: float = Field(default=0.0, ge=0, le=1)
    """Largest horizontal and vertical shift either way, as a fraction of the side."""
    shear: float = Field(default=0.0, ge=0, lt=90)
    """Largest shear angle either way, degrees."""
    zoom: float = Field(default=0.0, ge=0, lt=1)
    """Horizontal and vertical zoom factors are drawn apart from [1 - zoom, 1 + zoom]."""
    flip: bool = False
    """Mirror half of the faces."""
    brightness: float = Field(default=0.0, ge=0, le=1)
    """Largest change of brightness either way, as a fraction of half the range of gray values."""
    contrast: float = Field(default=0.0, ge=0, lt=1)
    """The face's differences from its mean are multiplied by a factor from [1 - contrast, 1 + contrast]."""
    erase: float = Field(default=0.0, ge=0, le=1)
    """The part of the faces in which a rectangle of 2 to 20 % of the area becomes the face's mean gray."""


@dataclass(frozen=True)
class Part:
    """Some rows of a batch; random numbers are drawn for the whole batch, so that a split changes no face."""

    whole: int
    """How many faces the batch has."""
    rows: slice
    """Which of them are here."""


def alter(images: Tensor, augment: Augment, generator: torch.Generator, part: Part | None = None) -> Tensor:
    """Augment a batch of faces, float (B, 1, S, S) in [0, 255]: the affine map, then light, then erasing.

    With ``part``, ``images`` are those rows of a larger batch, and come out as they would within it.
    """
    images = affine(images, draw(augment, len(images), images.shape[-1], generator, part))
    if augment.brightness or augment.contrast:
        images = jitter_light(images, augment, generator, part)
    if augment.erase:
        images = erase(images, augment.erase, generator, part)
    return images


def _random(kinds: int, faces: int, generator: torch.Generator, part: Part | None) -> Tensor:
    """Uniform numbers in [0, 1), float (kinds, faces)."""
    if part is None:
        return torch.rand(kinds, faces, generator=generator)
    return torch.rand(kinds, part.whole, generator=generator)[:, part.rows]


@dataclass(frozen=True)
class Draw:
    """One affine map a face; every field is a float (B,) but ``flip``, bool (B,)."""

    theta: Tensor
    """Rotation, degrees."""
    tx: Tensor
    """Horizontal shift, pixels: the face moves left where it is positive."""
    ty: Tensor
    """Vertical shift, pixels: the face moves up where it is positive."""
    shear: Tensor
    """Degrees."""
    zx: Tensor
    """Horizontal factor: the face grows narrower where it is above 1."""
    zy: Tensor
    """Vertical factor."""
    flip: Tensor


def draw(augment: Augment, batch: int, side: int, generator: torch.Generator, part: Part | None = None) -> Draw:
    """Draw the maps of a batch as Keras' ``get_random_transform`` does: each quantity uniform and on its own."""

    def uniform(reach: float, around: float = 0.0) -> Tensor:
        return around + reach * (2 * _random(1, batch, generator, part)[0] - 1)

    return Draw(
        theta=uniform(augment.rotation),
        tx=uniform(augment.shift * side),
        ty=uniform(augment.shift * side),
        shear=uniform(augment.shear),
        zx=uniform(augment.zoom, 1.0),
        zy=uniform(augment.zoom, 1.0),
        flip=(_random(1, batch, generator, part)[0] < 0.5) & augment.flip,
    )


def affine(images: Tensor, how: Draw) -> Tensor:
    """Apply one affine map to each face, bilinear, the edge repeated outside.

    The same map as Keras' ``ImageDataGenerator.apply_transform``: rotation, shift, shear and zoom about the centre of
    the pixel grid, in that order of matrix product, then the mirror.

    Args:
        images: float (B, 1, S, S).
        how: the maps, as drawn by :func:`draw`.

    Returns:
        float (B, 1, S, S), on the device of ``images``.
    """
    side = images.shape[-1]
    theta = _matrix(how)  # (B, 2, 3), from an output pixel (x, y) to its source, from the centre, in pixels
    theta[:, :, 2] /= (side - 1) / 2
    theta = theta.to(images)
    grid = F.affine_grid(theta, list(images.shape), align_corners=True)  # (B, S, S, 2)
    return F.grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=True)


def jitter_light(images: Tensor, augment: Augment, generator: torch.Generator, part: Part | None = None) -> Tensor:
    """Change contrast about the face's mean, then brightness; gray values stay within [0, 255].

    Args:
        images: float (B, 1, S, S) in [0, 255].
        augment: the ranges.
        generator: of the random numbers, on the CPU.
        part: as for :func:`alter`.
    """

    def uniform() -> Tensor:
        return (2 * _random(1, len(images), generator, part).view(-1, 1, 1, 1) - 1).to(images)

    mean = images.mean((2, 3), keepdim=True)
    lit = (images - mean) * (1 + augment.contrast * uniform()) + mean + 127.5 * augment.brightness * uniform()
    return lit.clamp(0, 255)


def erase(images: Tensor, share: float, generator: torch.Generator, part: Part | None = None) -> Tensor:
    """Fill a rectangle of some faces with their mean (random erasing, Zhong et al. 2020, arXiv:1708.04896).

    Its area is uniform in 2 to 20 % of the face, the logarithm of height over width uniform in +-log 2, its centre
    anywhere in the face; what reaches over the edge is cut off.

    Args:
        images: float (B, 1, S, S).
        share: how many of the faces, 0 to 1.
        generator: of the random numbers, on the CPU.
        part: as for :func:`alter`.
    """
    n, side = len(images), images.shape[-1]
    chosen, area, ratio, x, y = _random(5, n, generator, part)
    area, ratio = 0.02 + 0.18 * area, torch.exp((2 * ratio - 1) * math.log(2))
    height, width = (area * ratio).sqrt() * side, (area / ratio).sqrt() * side
    pixels = torch.arange(side) + 0.5
    rows = (pixels - y[:, None] * side).abs() < height[:, None] / 2  # (B, S)
    columns = (pixels - x[:, None] * side).abs() < width[:, None] / 2  # (B, S)
    hidden = rows[:, :, None] & columns[:, None, :] & (chosen < share)[:, None, None]  # (B, S, S)
    return torch.where(hidden[:, None].to(images.device), images.mean((2, 3), keepdim=True), images)


def _matrix(how: Draw) -> Tensor:
    theta, shear = torch.deg2rad(how.theta), torch.deg2rad(how.shear)
    zero, one = torch.zeros_like(theta), torch.ones_like(theta)
    rotation = _stack([theta.cos(), -theta.sin(), zero], [theta.sin(), theta.cos(), zero])
    shift = _stack([one, zero, how.tx], [zero, one, how.ty])
    shears = _stack([one, -shear.sin(), zero], [zero, shear.cos(), zero])
    zoom = _stack([how.zx, zero, zero], [zero, how.zy, zero])
    mirror = _stack([torch.where(how.flip, -one, one), zero, zero], [zero, one, zero])
    return (rotation @ shift @ shears @ zoom @ mirror)[:, :2]


def _stack(first: list[Tensor], second: list[Tensor]) -> Tensor:
    """Rows of homogeneous 3x3 matrices, (B, 3, 3)."""
    zero, one = torch.zeros_like(first[0]), torch.ones_like(first[0])
    return torch.stack([torch.stack(row, 1) for row in (first, second, [zero, zero, one])], 1)
