"""The article's plain CNN."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn

from mien.models.spec import CnnSpec, Head


class Cnn(nn.Module):
    """Conv 32, pool, conv 64, pool, conv 64, dense 64, dense classes; 3x3 'valid' convolutions, ReLU."""

    def __init__(self, spec: CnnSpec) -> None:
        super().__init__()
        self.spec = spec
        layers: list[tuple[str, nn.Module]] = []
        for number, (channels_in, channels) in enumerate([(1, 32), (32, 64), (64, 64)], start=1):
            layers += [(f"conv{number}", nn.Conv2d(channels_in, channels, 3)), (f"relu{number}", nn.ReLU(inplace=True))]
            layers += [(f"pool{number}", nn.MaxPool2d(2))] if number < 3 else []
        layers += [("flatten", nn.Flatten()), ("dense", nn.Linear(4096, 64)), ("relu", nn.ReLU(inplace=True))]
        self.features = nn.Sequential(OrderedDict(layers))
        self.head = nn.Linear(64, spec.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map gray faces (B, 1, 48, 48) to logits (B, classes)."""
        return self.head(self.features(x))  # type: ignore[no-any-return]

    def every(self, x: Tensor) -> dict[Head, Tensor]:
        """Map gray faces (B, 1, 48, 48) to the one head's logits (B, classes)."""
        return {Head.LABELS: self(x)}

    def groups(self) -> dict[str, list[nn.Module]]:
        """The parts that phases freeze, from input to output."""
        return {"features": [self.features], "head": [self.head]}
