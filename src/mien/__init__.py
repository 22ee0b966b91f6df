"""mien: facial expression recognition that you can trust."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mien.emotions import Emotion

if TYPE_CHECKING:
    from mien.data import Faces, load_faces
    from mien.evaluate import evaluate
    from mien.export import export_model
    from mien.predict import Face, Prediction, Predictor, to_rows
    from mien.train import train

__version__ = "0.1.0"

__all__ = [
    "Emotion",
    "Face",
    "Faces",
    "Prediction",
    "Predictor",
    "evaluate",
    "export_model",
    "load_faces",
    "to_rows",
    "train",
]

_HOMES = {
    "Face": "mien.predict",
    "Faces": "mien.data",
    "Prediction": "mien.predict",
    "Predictor": "mien.predict",
    "evaluate": "mien.evaluate",
    "export_model": "mien.export",
    "load_faces": "mien.data",
    "to_rows": "mien.predict",
    "train": "mien.train",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'mien' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
