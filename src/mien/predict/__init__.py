"""Prediction: images in, faces with emotions out. Needs neither torch nor any extra."""

from mien.predict.predictor import Face, Prediction, Predictor

__all__ = ["Face", "Prediction", "Predictor"]
