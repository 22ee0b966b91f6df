"""Grad-CAM: which parts of a face support a class.

Source: Selvaraju et al. 2017, arXiv:1610.02391, equations 1 and 2. It needs torch, as it asks for gradients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from mien.data.faces import SIDE
from mien.errors import ModelError
from mien.models.bundle import Bundle
from mien.models.networks.build import Network, load_network
from mien.models.networks.compact import NormBounded
from mien.models.networks.mobilenet import ConvNorm
from mien.models.preprocessing import prepare
from mien.models.spec import Head

LEAST = 3
"""Places a side that a map needs to say where; a map of one place says nothing."""


@dataclass(frozen=True)
class Layer:
    """The layer whose map is used.

    Attributes:
        name: its name in the network's features, such as ``conv_pw_11``.
        shape: height and width of its map, in places.
        last: height and width of the network's last map; equal to ``shape`` where that one is used.
        start: the pixel in whose middle the receptive field of the map's first place is centred, counted from 0.
        step: pixels from one place's centre to the next.
    """

    name: str
    shape: tuple[int, int]
    last: tuple[int, int]
    start: float
    step: float

    @property
    def note(self) -> str:
        """A caption: where the map comes from, and why not from the end of the network."""
        text = f"Grad-CAM at {self.name}, {self.shape[0]}x{self.shape[1]} places"
        if self.shape == self.last:
            return text
        return f"{text}: the last map of at least {LEAST}x{LEAST}, as the network ends in {self.last[0]}x{self.last[1]}"


@dataclass(frozen=True)
class Attribution:
    """Grad-CAM maps.

    Attributes:
        maps: float32 (N, H, W), at least 0: how much each place supports the class, in the logit's units. All 0 where
            no place does.
        layer: where they come from.
    """

    maps: NDArray[np.float32]
    layer: Layer

    @property
    def shares(self) -> NDArray[np.float32]:
        """float32 (N, H, W): the maps divided by their maxima, 0 to 1; all 0 where a map is."""
        top = self.maps.max((1, 2), keepdims=True)
        shares: NDArray[np.float32] = np.divide(self.maps, top, out=np.zeros_like(self.maps), where=top > 0)
        return shares

    def enlarged(self) -> NDArray[np.float32]:
        """float32 (N, 48, 48), 0 to 1: :attr:`shares` on the face, bilinear between the places' centres.

        The usual way, to stretch the map over the image, is off by up to 8 pixels here: these networks pad below and to
        the right only, or not at all, so their places are not centred on equal parts of the image.
        """
        down, across = (self._blend(places) for places in self.layer.shape)
        return np.asarray(down @ self.shares @ across.T, np.float32)  # (48, H) @ (N, H, W) @ (W, 48)

    def _blend(self, places: int) -> NDArray[np.float32]:
        """float32 (48, places): how much each place counts in each pixel; beyond the outer centres, only these do."""
        where = np.clip((np.arange(SIDE) - self.layer.start) / self.layer.step, 0, places - 1)
        blend: NDArray[np.float32] = np.maximum(0, 1 - np.abs(where[:, None] - np.arange(places))).astype(np.float32)
        return blend


def grad_cam(
    bundle: Bundle,
    images: NDArray[np.uint8],
    classes: NDArray[np.integer],
    head: Head | None = None,
    batch: int = 256,
) -> Attribution:
    """The parts of each face that support a class.

    Args:
        bundle: the model.
        images: uint8 (N, 48, 48).
        classes: int (N,), the class to explain for each face, 0 to C - 1.
        head: the head to explain; without it, the output that predictions show.
        batch: how many faces go through the network at once.

    Raises:
        ModelError: where the model has no such head, or no map of at least 3x3 places.
        ValueError: where there are not as many classes as faces.
    """
    if len(images) != len(classes):
        raise ValueError(f"there are {len(classes)} classes for {len(images)} faces")
    if head not in (None, *bundle.card.heads):
        raise ModelError(f"it has no head {head}", bundle.path, f"It has {', '.join(bundle.card.heads)}.")
    network = load_network(bundle)
    layer = choose_layer(network)
    factors = bundle.card.calibration.factors(bundle.card.heads) if head is None else {head: 1.0}
    inputs, explained = prepare(images, bundle.card.preprocessing), np.asarray(classes, np.int64)
    parts = [
        network_cam(network, layer.name, torch.from_numpy(inputs[at : at + batch]), explained[at : at + batch], factors)
        for at in range(0, len(images), batch)
    ]
    empty = [np.empty((0, *layer.shape), np.float32)]
    return Attribution(np.concatenate(parts or empty), layer)


def network_cam(
    network: Network, layer: str, x: Tensor, classes: NDArray[np.int64], factors: Mapping[Head, float]
) -> NDArray[np.float32]:
    """Equations 1 and 2 for one batch: float32 (B, H, W), at least 0.

    Args:
        network: in inference mode.
        layer: the name, in the network's features, of the module whose output is A.
        x: the network's input, float (B, 1, 48, 48).
        classes: int64 (B,), the class c of each face.
        factors: what each head's logits are multiplied by in y.
    """
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())
        return kept[0]

    hook = network.features.get_submodule(layer).register_forward_hook(keep)
    try:
        with torch.enable_grad():
            every = network.every(x)
            logits = torch.stack([factor * every[head] for head, factor in factors.items()]).sum(0)  # (B, C)
            chosen = logits[torch.arange(len(x)), torch.from_numpy(classes)].sum()
            (gradient,) = torch.autograd.grad(chosen, kept[0])  # (B, K, H, W), as no face's logits hang on another's
    finally:
        hook.remove()
    weights = gradient.mean((2, 3), keepdim=True)  # (B, K, 1, 1), alpha of equation 1
    return F.relu((weights * kept[0].detach()).sum(1)).float().numpy()


def choose_layer(network: Network) -> Layer:
    """The last activation or pooled map with at least 3x3 places.

    Raises:
        ModelError: where there is none.
    """
    found: list[tuple[str, tuple[int, int], float, float]] = []
    start, step = 0.0, 1.0
    x = torch.zeros(1, getattr(network.spec, "channels", 1), SIDE, SIDE)
    with torch.no_grad():
        for name, module in network.features.named_children():
            x = module(x)
            start, step = _after(module, start, step)
            if x.ndim == 4 and isinstance(module, ConvNorm | NormBounded | nn.ReLU | nn.MaxPool2d):
                found.append((name, (x.shape[2], x.shape[3]), start, step))
    good = [one for one in found if min(one[1]) >= LEAST]
    if not good:
        raise ModelError(f"no layer has a map of at least {LEAST}x{LEAST} places, so none can say where")
    name, shape, start, step = good[-1]
    return Layer(name, shape, found[-1][1], start, step)


def _after(module: nn.Module, start: float, step: float) -> tuple[float, float]:
    """Where the first place's receptive field is centred after a module, and how far apart centres then are."""
    if isinstance(module, nn.Sequential):
        for part in module:
            start, step = _after(part, start, step)
        return start, step
    if isinstance(module, ConvNorm):
        kernel, stride, padding = module.weight.shape[-1], module.stride, module.padding
    elif isinstance(module, nn.Conv2d):
        kernel, stride, padding = module.kernel_size[0], module.stride[0], int(module.padding[0])
    elif isinstance(module, nn.MaxPool2d):
        kernel, stride, padding = int(module.kernel_size), int(module.stride), 0  # type: ignore[arg-type]
    else:
        return start, step
    return start + step * ((kernel - 1) / 2 - padding), step * stride
