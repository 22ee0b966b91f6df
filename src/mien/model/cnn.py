"""The article's plain CNN."""

from __future__ import annotations

from torch import Tensor, nn

from mien.model.spec import CnnSpec


class Cnn(nn.Module):
    """Conv 32, pool, conv 64, pool, conv 64, dense 64, dense classes; 3x3 'valid' convolutions, ReLU."""

    def __init__(self, spec: CnnSpec) -> None:
        super().__init__()
        self.spec = spec
        self.features = nn.Sequential(
            nn.Conv2d(1, 32, 3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(64, 64, 3),
            nn.ReLU(inplace=True),
            nn.Flatten(),
            nn.Linear(4096, 64),
            nn.ReLU(inplace=True),
        )
        self.head = nn.Linear(64, spec.classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map gray faces (B, 1, 48, 48) to logits (B, classes)."""
        return self.head(self.features(x))  # type: ignore[no-any-return]

    def groups(self) -> dict[str, list[nn.Module]]:
        """The parts that phases freeze, from input to output."""
        return {"features": [self.features], "head": [self.head]}
