"""mien: facial expression recognition that you can trust."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mien.emotions import Emotion

if TYPE_CHECKING:
    from mien.data import Faces, load_faces
    from mien.evaluation import evaluate
    from mien.evaluation.photos import evaluate_photos
    from mien.export.exporter import export_model
    from mien.inference import Face, Prediction, Predictor, predict, to_dataframe, to_rows
    from mien.inference.photo_crops import crop_photos
    from mien.training import train

__version__ = "0.1.0"

__all__ = [
    "Emotion",
    "Face",
    "Faces",
    "Prediction",
    "Predictor",
    "crop_photos",
    "evaluate",
    "evaluate_photos",
    "export_model",
    "load_faces",
    "predict",
    "to_dataframe",
    "to_rows",
    "train",
]

_HOMES = {
    "Face": "mien.inference",
    "Faces": "mien.data",
    "Prediction": "mien.inference",
    "Predictor": "mien.inference",
    "crop_photos": "mien.inference.photo_crops",
    "evaluate": "mien.evaluation",
    "evaluate_photos": "mien.evaluation.photos",
    "export_model": "mien.export.exporter",
    "load_faces": "mien.data",
    "predict": "mien.inference",
    "to_dataframe": "mien.inference",
    "to_rows": "mien.inference",
    "train": "mien.training",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mien' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
