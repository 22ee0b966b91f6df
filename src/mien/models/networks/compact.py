"""A small deep network: MobileNet v1's first blocks, whose ImageNet weights are worth having, then residual blocks."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from mien.models.networks.batch_norm import Norm
from mien.models.networks.mobilenet import BLOCKS, STEM, ConvNorm, Pooling, separable
from mien.models.spec import CompactSpec

FIRST = 3
"""How many of MobileNet's blocks it begins with; they end in 12x12 places of 128 channels."""


class Residual(nn.Module):
    """A depthwise and a pointwise layer whose result is added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dw = ConvNorm(channels, channels, 3, groups=channels)
        self.pw = ConvNorm(channels, channels, 1, bounded=False)
        nn.init.constant_(self.pw.norm.weight, 0.2)  # so that a deep chain begins close to the identity

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return x + self.pw(self.dw(x))  # type: ignore[no-any-return]


class NormBounded(Norm):
    """Batch norm and ReLU6: the end of a chain of residual blocks."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape, values in [0, 6]."""
        return F.relu6(super().forward(x))


class Compact(Pooling):
    """Three blocks of MobileNet, ``depth[0]`` residual blocks at 12x12, ``depth[1]`` at 6x6, pooling and the heads."""

    def __init__(self, spec: CompactSpec) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(conv1=ConvNorm(1, STEM, 3, 2))
        width = STEM
        for number, channels in enumerate(BLOCKS[:FIRST], start=1):
            layers |= separable(number, width, channels, 2 if number == 2 else 1)
            width = channels
        layers |= {f"fine_{number}": Residual(width) for number in range(1, spec.depth[0] + 1)}
        layers["down"] = nn.Sequential(
            OrderedDict(dw=ConvNorm(width, width, 3, 2, groups=width), pw=ConvNorm(width, spec.width, 1))
        )
        layers |= {f"coarse_{number}": Residual(spec.width) for number in range(1, spec.depth[1] + 1)}
        layers["last"] = NormBounded(spec.width, eps=1e-3, momentum=0.05)
        super().__init__(nn.Sequential(layers), spec.width, spec.classes, spec.votes)
        self.spec = spec

    def groups(self) -> dict[str, list[nn.Module]]:
        """The parts that phases freeze, from input to output: ``features`` and ``head``."""
        return {"features": [self.features], "head": self.head_group()}
