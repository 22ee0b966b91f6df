"""A bundle as TorchScript: pixels in, probabilities out, for programs that have libtorch and not Python."""

from __future__ import annotations

import io
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mien.errors import ModelError
from mien.export.onnx_file import metadata
from mien.models.bundle import Bundle
from mien.models.networks.build import load_network

NOTES = "mien.json"
"""The extra file inside that holds the metadata."""


class Answers(nn.Module):
    """A bundle's network with its preprocessing before it, and calibration and softmax behind it."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__()
        card = bundle.card
        self.network = load_network(bundle)
        self.factor, self.offset = card.preprocessing.factor_offset
        self.temperatures = {head: card.calibration.of(head) for head in card.heads}
        self.factors = card.calibration.factors(card.heads)
        self.bias = torch.tensor(card.calibration.bias(card.heads), dtype=torch.float32)

    def forward(self, faces: Tensor) -> tuple[Tensor, ...]:
        """Map gray faces (B, 48, 48), 0 to 255, uint8 or float, to probabilities, float32 (B, classes) each.

        The first are what predictions show, the others each head's.
        """
        x = faces.to(torch.float32).unsqueeze(1) * self.factor + self.offset  # (B, 1, 48, 48)
        every = self.network.every(x)
        shown = torch.stack([factor * every[head] for head, factor in self.factors.items()]).sum(0) + self.bias
        return (torch.softmax(shown, 1), *(torch.softmax(every[head] / t, 1) for head, t in self.temperatures.items()))


def traced(bundle: Bundle) -> Any:
    """The bundle as a frozen ``torch.jit.ScriptModule``, for batches of any size."""
    example = torch.zeros(2, bundle.card.preprocessing.side, bundle.card.preprocessing.side, dtype=torch.uint8)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of torch.jit, in favour of what needs Python to run
        return torch.jit.freeze(torch.jit.trace(Answers(bundle).eval(), example))  # type: ignore[no-untyped-call]


def save_script(bundle: Bundle, module: Any, path: Path, notes: dict[str, str]) -> None:
    """Write a traced bundle; its metadata and ``notes`` go into the extra file ``mien.json``."""
    text, buffer = json.dumps(metadata(bundle) | notes), io.BytesIO()
    torch.jit.save(module, buffer, _extra_files={NOTES: text})  # torch's own error about a full disk is no OSError
    path.write_bytes(buffer.getvalue())


def run_script(path: Path, images: NDArray[np.uint8], batch: int = 256) -> list[NDArray[np.float32]]:
    """What predictions show and each head's probabilities, float32 (N, classes), of faces, uint8 (N, 48, 48).

    Raises:
        ModelError: where the file is no TorchScript.
    """
    try:
        module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    except RuntimeError as error:
        raise ModelError("not a TorchScript file, or a damaged one", path) from error
    with torch.inference_mode():
        parts = [module(torch.from_numpy(images[start : start + batch])) for start in range(0, len(images), batch)]
    return [np.concatenate([one.numpy() for one in head]) for head in zip(*parts, strict=True)]
