"""Evaluation: figures, plots and tables of a model on a split. Needs the extra ``train``."""

from mien.evaluation.evaluator import Evaluation, evaluate

__all__ = ["Evaluation", "evaluate"]
