"""MobileNet v1 cut at a block, computing exactly what Keras computes.

Source: Howard et al. 2017, arXiv:1704.04861, table 1. Keras' details that matter: batch-norm epsilon 1e-3, ReLU6, and
stride-2 convolutions that pad one row below and one column to the right, then convolve without padding.
"""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mien.model.spec import Head, MobileNetSpec

STEM = 32
BLOCKS = [64, 128, 128, 256, 256, *[512] * 6, 1024, 1024]
"""Output channels of each depthwise-separable block."""


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, ReLU6."""

    def __init__(self, channels_in: int, channels: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, channels_in // groups, kernel, kernel))
        self.norm = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.05)
        self.stride, self.groups = stride, groups
        self.padding = kernel // 2 if stride == 1 else 0
        nn.init.kaiming_normal_(self.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C, H / stride, W / stride), values in [0, 6]."""
        if self.stride == 2:
            x = F.pad(x, (0, 1, 0, 1))
        if self.norm.training:
            x = self.norm(F.conv2d(x, self.weight, None, self.stride, self.padding, groups=self.groups))
        else:
            x = F.conv2d(x, *self.folded(), self.stride, self.padding, groups=self.groups)
        return F.relu6(x)

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


class MobileNet(nn.Module):
    """MobileNet v1 up to ``spec.cut``, global average pooling and one dense layer."""

    def __init__(self, spec: MobileNetSpec) -> None:
        super().__init__()
        self.spec = spec
        self.norm_frozen = False
        layers: OrderedDict[str, nn.Module] = OrderedDict(conv1=ConvNorm(spec.channels, STEM, 3, spec.stem_stride))
        width = STEM
        for number, channels in enumerate(BLOCKS[: spec.cut], start=1):
            layers[f"conv_dw_{number}"] = ConvNorm(width, width, 3, spec.stride(number), groups=width)
            layers[f"conv_pw_{number}"] = ConvNorm(width, channels, 1)
            width = channels
        self.features = nn.Sequential(layers)
        self.head = _dense(width, spec.classes)
        self.votes = _dense(width, spec.classes) if spec.votes else None

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
        return self.features(x.expand(-1, self.spec.channels, -1, -1)).mean((2, 3))  # type: ignore[no-any-return]

    def train(self, mode: bool = True) -> MobileNet:
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

    def groups(self) -> dict[str, list[nn.Module]]:
        """The parts that phases freeze: ``stem``, ``1`` to ``cut`` (the blocks), ``head``, from input to output."""
        parts: dict[str, list[nn.Module]] = {"stem": [self.features.get_submodule("conv1")]}
        for number in range(1, self.spec.cut + 1):
            parts[str(number)] = [self.features.get_submodule(f"conv_{kind}_{number}") for kind in ("dw", "pw")]
        return parts | {"head": [self.head, *([self.votes] if self.votes else [])]}


def _dense(width: int, classes: int) -> nn.Linear:
    layer = nn.Linear(width, classes)
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer
