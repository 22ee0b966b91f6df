"""Prediction: images in, faces with emotions out. Needs neither torch nor any extra."""

from mien.predict.faces import Detection, Detector
from mien.predict.predictor import Predictor
from mien.predict.results import UNCERTAIN, Face, Prediction, to_rows

__all__ = ["UNCERTAIN", "Detection", "Detector", "Face", "Prediction", "Predictor", "to_rows"]
