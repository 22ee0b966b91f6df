"""Lightning's checkpoints on disk: each appears whole or not at all, and a damaged one is refused."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins import TorchCheckpointIO

from mien.errors import RecipeError
from mien.files import atomic


class Checkpoints(TorchCheckpointIO):
    """Reads and writes checkpoints.

    Lightning's own writer makes a file in the system's temporary folder and moves it; from another disk that is a copy,
    of which a killed run leaves a half.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write beside ``path``, then rename."""
        assert storage_options is None
        with atomic(path) as temporary:
            torch.save(checkpoint, temporary)

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Check every part's CRC-32, which torch does not, then read.

        Raises:
            RecipeError: where the file is damaged.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError) as error:
            raise _damaged(path) from error
        if damaged:
            raise _damaged(path)
        return super().load_checkpoint(path, *args, **kwargs)


def _damaged(path: str | Path) -> RecipeError:
    return RecipeError("a damaged checkpoint", path, "Delete it and resume once more: its phase starts again.")
