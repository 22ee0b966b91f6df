"""Evaluation: figures and plots from faces and the probabilities that a model gives them."""
