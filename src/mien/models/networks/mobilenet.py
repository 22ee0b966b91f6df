"""MobileNet v1 cut at a block, computing exactly what Keras computes.

Source: Howard et al. 2017, arXiv:1704.04861, table 1. Keras' details that matter: batch-norm epsilon 1e-3, ReLU6, and
stride-2 convolutions that pad one row below and one column to the right, then convolve without padding.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.models.networks.batch_norm import Norm
from mien.models.spec import Head, MobileNetSpec

STEM = 32
BLOCKS = [64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
"""Output channels of each depthwise-separable block."""


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, ReLU6 (without it where it is not ``bounded``).

    While its batch norm trains, it maps a mirrored feature map to a mirrored one (see :meth:`mirrored`).
    """

    def __init__(
        self, channels_in: int, channels: int, kernel: int, stride: int = 1, groups: int = 1, bounded: bool = True
    ) -> None:
        super().__init__()
        self.bounded = bounded
        self.weight = nn.Parameter(torch.empty(channels, channels_in // groups, kernel, kernel))
        self.norm = Norm(channels, eps=1e-3, momentum=0.05)
        self.stride, self.groups = stride, groups
        self.padding = kernel // 2 if stride == 1 else 0
        nn.init.kaiming_normal_(self.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C, H / stride, W / stride), values in [0, 6] where bounded."""
        if self.norm.training:
            x = self.norm(self.mirrored(x))
        else:
            x = F.pad(x, (0, 1, 0, 1)) if self.stride == 2 else x
            x = F.conv2d(x, *self.folded(), self.stride, self.padding, groups=self.groups)
        return F.relu6(x) if self.bounded else x

    def mirrored(self, x: Tensor) -> Tensor:
        """The convolution of feature maps that are mirrored in both axes, (B, C_in, H, W) to (B, C, H / 2, W / 2).

        Keras pads below and to the right, which costs a copy of the activations forward and one back: a fifteenth of a
        training step. Mirrored, the padding is above and to the left, and for even sides that is what a convolution's
        own padding of 1 on all sides amounts to; on odd sides its windows never reach the padding.
        """
        if self.weight.shape[-1] == 1:
            return F.conv2d(x, self.weight)
        padding = [1 if self.stride == 1 or side % 2 == 0 else 0 for side in x.shape[2:]]
        return F.conv2d(x, self.weight.flip(2, 3), None, self.stride, padding, groups=self.groups)

    def folded(self) -> tuple[Tensor, Tensor]:
        """The convolution's weight and bias with the batch norm's stored statistics folded in.

        With fixed statistics the norm is an affine map of each channel, so it can act on the weights, which are far
        fewer than the activations; gradients reach weight, gamma and beta just the same.
        """
        norm = self.norm
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)  # (C,)
        return self.weight * scale.view(-1, 1, 1, 1), norm.bias - norm.running_mean * scale


class Pooling(nn.Module):
    """What our convolutional networks share: features, their mean over space, and one dense layer or two."""

    norm_frozen = False

    def __init__(self, features: nn.Sequential, width: int, classes: int, votes: bool) -> None:
        super().__init__()
        self.features = features
        self.head = _dense(width, classes)
        self.votes = _dense(width, classes) if votes else None

    def forward(self, x: Tensor) -> Tensor:
        """Map gray faces (B, 1, 48, 48) to the labels' logits (B, classes)."""
        return self.head(self.pooled(x))  # type: ignore[no-any-return]

    def every(self, x: Tensor) -> dict[Head, Tensor]:
        """Map gray faces (B, 1, 48, 48) to each head's logits (B, classes)."""
        x = self.pooled(x)  # (B, C)
        labels: Tensor = self.head(x)
        return {Head.LABELS: labels} if self.votes is None else {Head.LABELS: labels, Head.VOTES: self.votes(x)}

    def pooled(self, x: Tensor) -> Tensor:
        """Map gray faces (B, 1, 48, 48) to the mean of the last feature map (B, C)."""
        if self.training and not self.norm_frozen:
            x = x.flip(2, 3)  # the layers work on mirrored maps while their norms train
        return self.features(x).mean((2, 3))  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> Self:
        """Switch mode; batch norms stay in inference mode where they are frozen."""
        super().train(mode)
        if self.norm_frozen:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def freeze_norm(self) -> None:
        """Keep every batch norm in inference mode from now on, with the statistics that it has."""
        self.norm_frozen = True
        self.train(self.training)

    def imagenet_layers(self) -> dict[str, ConvNorm]:
        """The layers that the published ImageNet weights fill, by their names there."""
        return {name: layer for name, layer in self.features.named_children() if isinstance(layer, ConvNorm)}

    def head_group(self) -> list[nn.Module]:
        """The dense layers."""
        return [self.head, *([self.votes] if self.votes else [])]


class MobileNet(Pooling):
    """MobileNet v1 up to ``spec.cut``, global average pooling and the heads."""

    def __init__(self, spec: MobileNetSpec) -> None:
        layers = OrderedDict(conv1=ConvNorm(spec.channels, STEM, 3, spec.stem_stride))
        width = STEM
        for number, channels in enumerate(BLOCKS[: spec.cut], start=1):
            layers |= separable(number, width, channels, spec.stride(number))
            width = channels
        super().__init__(nn.Sequential(layers), width, spec.classes, spec.votes)  # type: ignore[arg-type]
        self.spec = spec

    def pooled(self, x: Tensor) -> Tensor:
        """Map gray faces (B, 1, 48, 48) to the mean of the last feature map (B, C)."""
        return super().pooled(x.expand(-1, self.spec.channels, -1, -1))

    def groups(self) -> dict[str, list[nn.Module]]:
        """The parts that phases freeze: ``stem``, ``1`` to ``cut`` (the blocks), ``head``, from input to output."""
        parts: dict[str, list[nn.Module]] = {"stem": [self.features.get_submodule("conv1")]}
        for number in range(1, self.spec.cut + 1):
            parts[str(number)] = [self.features.get_submodule(f"conv_{kind}_{number}") for kind in ("dw", "pw")]
        return parts | {"head": self.head_group()}


def separable(number: int, width: int, channels: int, stride: int) -> OrderedDict[str, ConvNorm]:
    """A depthwise and a pointwise layer, by their names in the published weights."""
    depthwise = ConvNorm(width, width, 3, stride, groups=width)
    return OrderedDict([(f"conv_dw_{number}", depthwise), (f"conv_pw_{number}", ConvNorm(width, channels, 1))])


def _dense(width: int, classes: int) -> nn.Linear:
    layer = nn.Linear(width, classes)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
