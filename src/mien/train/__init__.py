"""Training: recipes, augmentation, the loop. Needs the extra ``train``."""

from mien.train.fit import Run, TrainOptions, train
from mien.train.recipe import Recipe, load_recipe, shipped_recipes

__all__ = ["Recipe", "Run", "TrainOptions", "load_recipe", "shipped_recipes", "train"]
