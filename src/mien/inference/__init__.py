"""Prediction: images in, faces with emotions out. Needs neither torch nor any extra."""

from mien.inference.detection import Detection, Detector
from mien.inference.predictor import Predictor, predict
from mien.inference.results import UNCERTAIN, Face, Prediction, to_dataframe, to_rows

__all__ = [
    "UNCERTAIN",
    "Detection",
    "Detector",
    "Face",
    "Prediction",
    "Predictor",
    "predict",
    "to_dataframe",
    "to_rows",
]
