"""A run's folder: one process at a time trains into it, and it holds the run's settings."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mien._utils.files import leftovers, locked
from mien.errors import RecipeError
from mien.models.bundle import BEST

LOCK = "lock"
"""The file beside the checkpoints that the process which trains locks; empty."""


def run_outputs(out: str | Path) -> list[Path]:
    """A run's folder, and the files in it that could be an input of the run, too."""
    return [Path(out), *(Path(out) / name for name in (BEST, "recipe.yaml"))]


@contextmanager
def alone(out: Path, checkpoints: Path) -> Iterator[None]:
    """Keep others out of a run's folder within the block, and take out what killed runs left half-written.

    Raises:
        RecipeError: where another process trains into the folder.
        OSError: where the folder cannot be written.
    """
    with locked(checkpoints / LOCK) as free:
        if not free:
            raise RecipeError("another process trains into this folder", out, "Wait for it, or name another --out.")
        whole = [out / name for name in (BEST, "history.csv", "recipe.yaml")]
        for half in [*checkpoints.glob(".*-????????.*"), *(half for path in whole for half in leftovers(path))]:
            half.unlink(missing_ok=True)
        yield


def read_identity(note: Path) -> dict[str, Any]:
    """What makes a run this one: its recipe, data and seed.

    Raises:
        RecipeError: where the note is damaged.
    """
    try:
        identity = json.loads(note.read_text())
        if not isinstance(identity, dict):
            raise ValueError("no mapping")
    except ValueError as error:
        raise RecipeError("a damaged note of the run's identity", note, "Name another --out.") from error
    return identity
