"""Small and spoiled models for tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import numpy_helper

from mien.export.quantization import quantized
from mien.models.bundle import Bundle, Calibration, Card
from mien.models.onnx.graph import build_graph
from mien.models.preprocessing import Preprocessing
from mien.models.spec import MobileNetSpec


def small_bundle(seed: int = 0) -> Bundle:
    """A bundle of a few thousand numbers, without torch."""
    rng = np.random.default_rng(seed)
    shapes = {
        "features.conv1": (32, 1, 3, 3),
        "features.conv_dw_1": (32, 1, 3, 3),
        "features.conv_pw_1": (64, 32, 1, 1),
    }
    weights = {}
    for name, shape in shapes.items():
        weights[f"{name}.weight"] = rng.normal(size=shape).astype(np.float32)
        for part in ("weight", "bias", "running_mean", "running_var"):
            weights[f"{name}.norm.{part}"] = rng.uniform(0.5, 1.5, shape[0]).astype(np.float32)
    weights["head.weight"] = rng.normal(size=(7, 64)).astype(np.float32)
    weights["head.bias"] = rng.normal(size=7).astype(np.float32)
    spec = MobileNetSpec(cut=1)
    card = Card(
        name="small",
        network=spec,
        preprocessing=Preprocessing(scaling="signed"),
        calibration=Calibration(temperature=1.5),
        provenance={"seed": 3, "accents": "né"},
    )
    return Bundle(card, weights, build_graph(spec, weights))


def constant_int8(model: Any, inputs: Any) -> Any:
    """An int8 model that predicts Disgust for every face."""
    made = quantized(model, inputs)
    for tensor in made.graph.initializer:
        if tensor.name == "head.bias":
            tensor.CopyFrom(numpy_helper.from_array(np.eye(7, dtype=np.float32)[1] * 1000, tensor.name))
    return made
