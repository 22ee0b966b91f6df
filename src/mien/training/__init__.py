"""Training: recipes, augmentation, the loop. Needs the extra ``train``."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mien.training.loop import Run, TrainOptions, train
    from mien.training.recipe import Recipe, load_recipe, shipped_recipes

__all__ = ["Recipe", "Run", "TrainOptions", "load_recipe", "shipped_recipes", "train"]

_OF_THE_LOOP = ("Run", "TrainOptions", "train")


def __getattr__(name: str) -> Any:
    """Lightning takes seconds to import, and only the loop needs it."""
    if name not in __all__:
        raise AttributeError(f"module 'mien.training' has no attribute {name!r}")
    home = "mien.training.loop" if name in _OF_THE_LOOP else "mien.training.recipe"
    return getattr(importlib.import_module(home), name)
