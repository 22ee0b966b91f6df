"""A bundle as one ordinary ONNX file, which any ONNX runtime reads without mien.

Its batch norms are folded into the convolutions; labels, preprocessing, temperatures and provenance travel as metadata.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.errors import require
from mien.files import atomic
from mien.model.bundle import Bundle
from mien.model.graph import NORM_EPSILON, Weights, build_graph


def save_onnx(bundle: Bundle, path: str | Path) -> Path:
    """Write a bundle as ONNX (opset 17): ``faces`` float32 (N, 1, 48, 48) to ``logits`` and, of two heads, ``votes``.

    The input is gray, scaled as the metadata's ``preprocessing`` says: ``pixels * factor + offset``.
    """
    onnx = require("onnx", "train")
    weights = folded(bundle.weights)
    model = onnx.load_from_string(build_graph(bundle.card.network, weights))
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
            tensor.raw_data = weights[tensor.name].tobytes()
    for key, value in metadata(bundle).items():
        model.metadata_props.add(key=key, value=value)
    onnx.checker.check_model(model)
    with atomic(path) as temporary:
        temporary.write_bytes(model.SerializeToString(deterministic=True))
    return Path(path)


def metadata(bundle: Bundle) -> dict[str, str]:
    """What a reader of the file needs to know, as strings; all but the names is JSON."""
    card = bundle.card
    factor, offset = card.preprocessing.factor_offset
    return {
        "name": card.name,
        "labels": json.dumps(card.labels),
        "preprocessing": json.dumps(card.preprocessing.model_dump() | {"factor": factor, "offset": offset}),
        "calibration": json.dumps(card.calibration.model_dump()),
        "provenance": json.dumps(card.provenance),
        "bundle_sha256": bundle.sha256,
    }


def folded(weights: Weights) -> dict[str, NDArray[np.float32]]:
    """The weights with every batch norm folded into the convolution before it, which thereby gets a bias."""
    found = {name: array for name, array in weights.items() if ".norm." not in name}
    for name in [name.removesuffix(".norm.bias") for name in weights if name.endswith(".norm.bias")]:
        gamma, beta, mean, variance = (
            weights[f"{name}.norm.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        factor = gamma / np.sqrt(variance + NORM_EPSILON)
        found[f"{name}.weight"] = (weights[f"{name}.weight"] * factor[:, None, None, None]).astype(np.float32)
        found[f"{name}.bias"] = (beta - mean * factor).astype(np.float32)
    return found
