"""Evaluation: figures, pictures and tables of a model on a split. Needs the extra ``train``."""

from mien.evaluate.evaluate import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
