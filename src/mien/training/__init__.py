"""Training: recipes, augmentation, the loop. Needs the extra ``train``."""

from mien.training.loop import Run, TrainOptions, train
from mien.training.recipe import Recipe, load_recipe, shipped_recipes

__all__ = ["Recipe", "Run", "TrainOptions", "load_recipe", "shipped_recipes", "train"]
