"""A bundle as one ordinary ONNX file, which any ONNX runtime reads without mien.

Its batch norms are folded into the convolutions; labels, preprocessing, temperatures, structure and provenance travel
as metadata. :mod:`mien.models.onnx.exported_file` reads the file back.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien._utils.files import atomic
from mien.errors import require
from mien.models.bundle import Bundle, Card
from mien.models.onnx.checksum import BLANK, KEY, with_checksum
from mien.models.onnx.graph import NORM_EPSILON, OUTPUTS, PROBABILITIES, Weights, build_graph

NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


def save_onnx(bundle: Bundle, path: str | Path) -> Path:
    """Write a bundle as ONNX (opset 17): ``faces`` float32 (N, 1, 48, 48) to ``probabilities``, what predictions show.

    Further outputs are each head's logits: ``logits`` and, of two heads, ``votes``. The input is gray, scaled as the
    metadata's ``preprocessing`` says: ``pixels * factor + offset``.
    """
    model = onnx_model(bundle)
    add_probabilities(model, bundle.card)
    with atomic(path) as temporary:
        temporary.write_bytes(serialized(model))
    return Path(path)


def serialized(model: Any) -> bytes:
    """An ``onnx.ModelProto`` as a file's bytes, with a checksum; equal models give equal bytes."""
    annotate(model, {KEY: BLANK})
    return with_checksum(model.SerializeToString(deterministic=True))


def onnx_model(bundle: Bundle) -> Any:
    """The bundle as an ``onnx.ModelProto`` with its metadata; every node bears the name of its output."""
    onnx = require("onnx", "train")
    weights = folded(bundle.state())
    model = onnx.load_from_string(build_graph(bundle.card.network, weights))
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
            tensor.raw_data = weights[tensor.name].tobytes()
    for node in model.graph.node:
        node.name = node.output[0]
    annotate(model, metadata(bundle))
    onnx.checker.check_model(model)
    return model


def add_probabilities(model: Any, card: Card) -> None:
    """Add the output ``probabilities`` to an ``onnx.ModelProto``, from its heads' logits, and make it the first."""
    onnx = require("onnx", "train")
    helper, graph, calibration = onnx.helper, model.graph, card.calibration
    factors = {f"{head}_factor": np.full(1, factor) for head, factor in calibration.factors(card.heads).items()}
    bias = np.broadcast_to(calibration.bias(card.heads), len(card.labels))
    for name, value in {**factors, "output_bias": bias}.items():
        graph.initializer.append(onnx.numpy_helper.from_array(value.astype(np.float32), name))
    parts = {f"{head}_part": (OUTPUTS[head], f"{head}_factor") for head in calibration.factors(card.heads)}
    graph.node.extend(helper.make_node("Mul", inputs, [name], name) for name, inputs in parts.items())
    graph.node.append(helper.make_node("Sum", [*parts, "output_bias"], ["output_logits"], "output_logits"))
    graph.node.append(helper.make_node("Softmax", ["output_logits"], [PROBABILITIES], PROBABILITIES, axis=1))
    graph.output.insert(0, helper.make_tensor_value_info(PROBABILITIES, 1, ["n", len(card.labels)]))
    onnx.checker.check_model(model)


def annotate(model: Any, notes: dict[str, str]) -> None:
    """Add metadata to an ``onnx.ModelProto``, replacing the same keys."""
    entries = {entry.key: entry.value for entry in model.metadata_props} | notes
    del model.metadata_props[:]
    for key, value in entries.items():
        model.metadata_props.add(key=key, value=value)


def metadata(bundle: Bundle) -> dict[str, str]:
    """The metadata of an exported file, as strings; all but the names is JSON."""
    card = bundle.card
    factor, offset = card.preprocessing.factor_offset
    return {
        "name": card.name,
        "labels": json.dumps(card.labels),
        "network": json.dumps(card.network.model_dump(mode="json")),
        "preprocessing": json.dumps(card.preprocessing.model_dump() | {"factor": factor, "offset": offset}),
        "calibration": json.dumps(card.calibration.model_dump(mode="json")),
        "output": card.output,
        "heads": json.dumps(card.heads),
        "provenance": json.dumps(card.provenance),
        "parameters": json.dumps(bundle.parameters),
        "bundle_sha256": bundle.sha256,
    }


def folded(weights: Weights) -> dict[str, NDArray[np.float32]]:
    """The weights with every batch norm folded into the convolution before it, which thereby gets a bias.

    A norm that follows no convolution becomes a 1x1 convolution of each channel by itself, which computes the same.
    """
    norms = [name.removesuffix(".running_var") for name in weights if name.endswith(".running_var")]
    within = {f"{norm}.{part}" for norm in norms for part in NORM_PARTS}
    found = {name: array for name, array in weights.items() if name not in within}
    for norm, factor, bias in _affine(weights, norms):
        name = norm.removesuffix(".norm")
        kernel = weights[f"{name}.weight"] if name != norm else np.ones((len(factor), 1, 1, 1))
        found[f"{name}.weight"] = (kernel * factor[:, None, None, None]).astype(np.float32)
        found[f"{name}.bias"] = bias.astype(np.float32)
    return found


def _affine(weights: Weights, norms: list[str]) -> Iterator[tuple[str, NDArray[np.float64], NDArray[np.float64]]]:
    """Each norm with the factor and the bias, float64 (C,), that it stands for."""
    for norm in norms:
        gamma, beta, mean, variance = (weights[f"{norm}.{part}"].astype(np.float64) for part in NORM_PARTS)
        factor = gamma / np.sqrt(variance + NORM_EPSILON)
        yield norm, factor, beta - mean * factor
