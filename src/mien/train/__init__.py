"""Training: recipes, augmentation, the loop. Needs the extra ``train``."""

from mien.namesake import answers_as_its_function
from mien.train.fit import Run, TrainOptions, train
from mien.train.recipe import Recipe, load_recipe, shipped_recipes

__all__ = ["Recipe", "Run", "TrainOptions", "load_recipe", "shipped_recipes", "train"]

answers_as_its_function(__name__)
