"""A network in eight bits: ONNX Runtime's static quantization, with pairs of Quantize and Dequantize nodes (QDQ).

Weights are int8, symmetric, a scale for each channel; activations are uint8. Weights use seven of their eight bits:
processors without VNNI add two products of eight bits into sixteen, which would overflow, so that the same file would
give other answers there. The dense heads stay in float: they cost a hundredth of the time, and their logits are not
rounded to 256 steps.
"""

from __future__ import annotations

import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import require
from mien.models.onnx.graph import INPUT, OUTPUTS
from mien.models.onnx.runtime import onnxruntime

SETTINGS: dict[str, Any] = {"per_channel": True, "reduce_range": True}
SCHEME = {
    "format": "QDQ",
    "weights": "int8, 7 bits used, a scale for each channel",
    "activations": "uint8",
    "float": "the dense heads",
    "calibration": "MinMax",
}
"""The metadata key of an exported file's quantization."""
BATCH = 64
_PREPARED = ("onnx.quant.pre_process", "onnxruntime.quant")
"""Tells the quantizer that the graph is folded already; else it configures the root logger to say that it is not."""


def quantized(model: Any, inputs: NDArray[np.float32]) -> Any:
    """An ``onnx.ModelProto`` with folded norms, in eight bits; its metadata are kept.

    Args:
        model: the network, its nodes named after their outputs.
        inputs: float32 (N, 1, 48, 48), what calibration takes the activations' ranges from.
    """
    onnx = require("onnx", "train")
    quantization = import_module(f"{onnxruntime.__name__}.quantization")  # which needs onnx

    source = onnx.ModelProto()
    source.CopyFrom(model)
    source.metadata_props.add(key=_PREPARED[0], value=_PREPARED[1])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "int8.onnx"
        quantization.quantize_static(
            source,
            path,
            _reader(quantization, inputs),
            nodes_to_exclude=list(OUTPUTS.values()),
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            **SETTINGS,
        )
        made = onnx.load(path)
    return _tidied(made, model)


def _reader(quantization: Any, inputs: NDArray[np.float32]) -> Any:
    """The faces, a batch at a time, for the calibrator."""
    batches = iter([inputs[start : start + BATCH] for start in range(0, len(inputs), BATCH)])

    class Reader(quantization.CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            batch = next(batches, None)
            return None if batch is None else {INPUT: batch}

    return Reader()


def _tidied(made: Any, model: Any) -> Any:
    """The quantizer's model as small as it can be, with the metadata of the model that it was made from."""
    _share_constants(made.graph)
    used = {node.domain for node in made.graph.node}
    domains = [one for one in made.opset_import if one.domain in used]
    for field in (made.graph.value_info, made.metadata_props, made.opset_import):
        del field[:]
    made.metadata_props.extend(model.metadata_props)
    made.opset_import.extend(domains)
    made.producer_name, made.producer_version = model.producer_name, model.producer_version
    return made


def _share_constants(graph: Any) -> None:
    """Keep one of constants that are equal: each channel's zero points would take a twentieth of a small model."""
    arrays = require("onnx.numpy_helper", "train")
    first: dict[tuple[Any, ...], str] = {}
    names: dict[str, str] = {}
    for tensor in graph.initializer:
        key = (tensor.data_type, tuple(tensor.dims), arrays.to_array(tensor).tobytes())
        names[tensor.name] = first.setdefault(key, tensor.name)
    kept = [tensor for tensor in graph.initializer if names[tensor.name] == tensor.name]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
