"""Training: recipes, augmentation, the loop. Needs the extra ``train``."""

from mien.train.fit import Run, train
from mien.train.recipe import Recipe, load_recipe, shipped_recipes

__all__ = ["Recipe", "Run", "load_recipe", "shipped_recipes", "train"]
