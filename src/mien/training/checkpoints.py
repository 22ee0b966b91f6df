"""What a run resumes from: each file appears whole or not at all, and one in which a bit has changed is refused.

Lightning's checkpoints end with the SHA-256 of all bytes before it; a phase's weights carry theirs as metadata.
"""

from __future__ import annotations

import hashlib
import io
import json
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from torch import Tensor

from mien._utils.files import atomic
from mien.errors import RecipeError

_SEAL = hashlib.sha256().digest_size
_MEND = "Delete it and resume once more: its phase starts again."


class Checkpoints(TorchCheckpointIO):
    """Reads and writes Lightning's checkpoints.

    Lightning's own writer makes a file in the system's temporary folder and moves it; from another disk that is a copy,
    of which a killed run leaves a half. Its reader checks no sum, and a zip's own sums leave its headers out.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write beside ``path``, then rename.

        Raises:
            OSError: where it cannot be written; torch itself would raise RuntimeError on a full disk.
        """
        assert storage_options is None
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        body = buffer.getbuffer()
        with atomic(path) as temporary, temporary.open("wb") as file:
            file.write(body)
            file.write(hashlib.sha256(body).digest())

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Check the sum, then read; ``map_location`` and ``weights_only`` as torch takes them.

        Raises:
            RecipeError: where the file is damaged.
        """
        data = memoryview(Path(path).read_bytes())
        if hashlib.sha256(data[:-_SEAL]).digest() != data[-_SEAL:]:
            raise RecipeError("a damaged checkpoint", path, _MEND)
        checkpoint: dict[str, Any] = torch.load(
            io.BytesIO(data[:-_SEAL]), map_location=map_location, weights_only=weights_only
        )
        return checkpoint


def write_phase(path: Path, weights: dict[str, Tensor], rows: list[dict[str, Any]]) -> None:
    """Write what a finished phase leaves: the weights that the next one starts from, and the history so far.

    Raises:
        OSError: where it cannot be written.
    """
    weights = {name: tensor.contiguous() for name, tensor in weights.items()}
    text = json.dumps(rows)
    notes = {"rows": text, "sha256": _digest(weights, text)}
    with atomic(path) as temporary:
        temporary.write_bytes(safetensors.torch.save(weights, notes))


def read_phase(path: Path) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """The weights and the history of a finished phase.

    Raises:
        RecipeError: where the file is damaged.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            notes = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if notes["sha256"] != _digest(weights, notes["rows"]):
            raise RecipeError("a damaged checkpoint", path, _MEND)
        return weights, json.loads(notes["rows"])
    except (safetensors.SafetensorError, KeyError) as error:
        raise RecipeError(f"a damaged checkpoint ({error})", path, _MEND) from error


def _digest(weights: dict[str, Tensor], rows: str) -> str:
    """SHA-256 of names, shapes, types, numbers and history; safetensors writes the same in the same order."""
    return hashlib.sha256(safetensors.torch.save(weights, {"rows": rows})).hexdigest()
