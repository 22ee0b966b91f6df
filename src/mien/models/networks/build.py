"""Build a network from its settings, and choose what of it trains."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import nn

from mien.errors import RecipeError
from mien.models.bundle import Bundle
from mien.models.networks.cnn import Cnn
from mien.models.networks.compact import Compact
from mien.models.networks.mobilenet import MobileNet
from mien.models.spec import CnnSpec, CompactSpec, MobileNetSpec, NetworkSpec

Network = MobileNet | Compact | Cnn


def build(spec: NetworkSpec) -> Network:
    """A network with freshly drawn weights (torch's global generator), in channels-last layout."""
    network: Network
    if isinstance(spec, MobileNetSpec):
        network = MobileNet(spec)
    else:
        network = Compact(spec) if isinstance(spec, CompactSpec) else Cnn(spec)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def load_network(bundle: Bundle) -> Network:
    """The bundle's network in torch, in inference mode, with frozen weights.

    Raises:
        ModelError: for an exported ONNX file.
    """
    network = build(bundle.card.network)
    state = {name: torch.from_numpy(np.array(array)) for name, array in bundle.state().items()}
    network.load_state_dict(state, strict=False)  # a bundle leaves out the norms' step counters
    network.requires_grad_(False)
    return network.eval()


def set_trainable(network: Network, part: Literal["head", "all"] | int) -> None:
    """Freeze what comes before ``part``: ``head``, ``all``, or the number of the first block that trains.

    Raises:
        RecipeError: where the network has no such block.
    """
    groups = network.groups()
    names = list(groups)
    first = names[0] if part == "all" else str(part)
    if first not in names:
        raise RecipeError(f"the network has no block {part} to train from", mend=f"It has {', '.join(names)}.")
    for position, name in enumerate(names):
        for module in groups[name]:
            module.requires_grad_(position >= names.index(first))


def stored_counts(network: nn.Module) -> tuple[int, int]:
    """How many numbers the network stores, and how many of these train now.

    Batch norm's running statistics count (as in Keras), its step counters do not.
    """
    parameters = list(network.parameters())
    statistics = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
    total = sum(tensor.numel() for tensor in [*parameters, *statistics])
    return total, sum(tensor.numel() for tensor in parameters if tensor.requires_grad)


def gray_fold(spec: NetworkSpec) -> int:
    """How many numbers of Keras' three-channel first kernel the gray input saves."""
    folded = isinstance(spec, MobileNetSpec) and spec.channels == 1
    return 2 * 9 * 32 if folded else 0


__all__ = ["Cnn", "CnnSpec", "MobileNet", "Network", "build", "gray_fold", "set_trainable", "stored_counts"]
