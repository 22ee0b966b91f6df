"""Evaluation: figures, pictures and tables of a model on a split. Needs the extra ``train``."""

from mien.evaluate.evaluate import Evaluation, evaluate
from mien.namesake import answers_as_its_function

__all__ = ["Evaluation", "evaluate"]

answers_as_its_function(__name__)
