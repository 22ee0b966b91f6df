"""A network's ONNX graph, whose weights stay in the bundle's safetensors.

The graph names each weight and refers to it as external data, so the numbers are once in a bundle; ONNX Runtime folds
the batch norms into the convolutions when it loads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import require
from mien.models.spec import CompactSpec, Head, MobileNetSpec, NetworkSpec

OPSET = 17
NORM_EPSILON = 1e-3
"""What batch norm adds to variances, as in Keras."""
WEIGHTS_FILE = "weights.safetensors"
INPUT = "faces"
OUTPUTS = {Head.LABELS: "logits", Head.VOTES: "votes"}
"""The graph's output for each head; only networks with two heads have the second."""
PROBABILITIES = "probabilities"
"""The output of an exported graph that is what predictions show; a bundle's own graph gives the heads only."""

Weights = Mapping[str, NDArray[np.float32]]


class _Writer:
    """Collects nodes; each method appends one step after the last."""

    def __init__(self, weights: Weights) -> None:
        self.helper = require("onnx.helper", "train")
        self.weights = weights
        self.nodes: list[Any] = []
        self.used: list[str] = []
        self.constants: list[Any] = []
        self.last = INPUT
        self.outputs: list[str] = []

    def add(self, kind: str, *inputs: str, **attributes: Any) -> None:
        output = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(kind, [self.last, *inputs], [output], **attributes))
        self.last = output

    def weight(self, name: str) -> str:
        self.used.append(name)
        return name

    def constant(self, name: str, value: float) -> str:
        if name not in {tensor.name for tensor in self.constants}:
            self.constants.append(self.helper.make_tensor(name, 1, [], [value]))
        return name

    def external(self, name: str) -> Any:
        tensor = require("onnx", "train").TensorProto(name=name, data_type=1, dims=self.weights[name].shape)
        tensor.data_location = 1
        tensor.external_data.add(key="location", value=WEIGHTS_FILE)
        return tensor


def build_graph(spec: NetworkSpec, weights: Weights) -> bytes:
    """The ONNX model (opset 17) of a network: ``faces`` float32 (N, 1, 48, 48) to ``logits`` float32 (N, classes).

    Of two heads, the second gives ``votes``, float32 (N, classes).

    Args:
        spec: the network's settings.
        weights: its state, float32 arrays by name; the graph takes their shapes, not their values. Where convolutions
            have a bias in place of a norm, the norms are taken as folded in (:func:`mien.export.onnx_file.folded`).
    """
    writer = _Writer(weights)
    if isinstance(spec, MobileNetSpec):
        _mobilenet(writer, spec)
    elif isinstance(spec, CompactSpec):
        _compact(writer, spec)
    else:
        _cnn(writer)
    helper = writer.helper
    graph = helper.make_graph(
        writer.nodes,
        spec.name,
        [helper.make_tensor_value_info(INPUT, 1, ["n", 1, 48, 48])],
        [helper.make_tensor_value_info(name, 1, ["n", spec.classes]) for name in writer.outputs],
        [*map(writer.external, writer.used), *writer.constants],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="mien", ir_version=9)
    return bytes(model.SerializeToString(deterministic=True))


def _mobilenet(writer: _Writer, spec: MobileNetSpec) -> None:
    if spec.channels == 3:
        writer.add("Concat", INPUT, INPUT, axis=1)
    names = {name.split(".")[1] for name in writer.weights if name.startswith("features.")}
    for name in sorted((f"features.{name}" for name in names), key=_layer_order):
        stride = _stride(name, spec)
        _conv_norm(writer, name, stride)
    _pool_and_heads(writer, spec.votes)


def _compact(writer: _Writer, spec: CompactSpec) -> None:
    for name in ("conv1", *(f"conv_{kind}_{number}" for number in (1, 2, 3) for kind in ("dw", "pw"))):
        _conv_norm(writer, f"features.{name}", 2 if name in ("conv1", "conv_dw_2") else 1)
    for number in range(1, spec.depth[0] + 1):
        _residual(writer, f"features.fine_{number}")
    _conv_norm(writer, "features.down.dw", 2)
    _conv_norm(writer, "features.down.pw", 1)
    for number in range(1, spec.depth[1] + 1):
        _residual(writer, f"features.coarse_{number}")
    _last_norm(writer, "features.last")
    _bound(writer)
    _pool_and_heads(writer, spec.votes)


def _residual(writer: _Writer, name: str) -> None:
    before = writer.last
    _conv_norm(writer, f"{name}.dw", 1)
    _conv_norm(writer, f"{name}.pw", 1, bounded=False)
    writer.add("Add", before)


def _pool_and_heads(writer: _Writer, votes: bool) -> None:
    writer.add("GlobalAveragePool")
    writer.add("Flatten")
    pooled = writer.last
    _head(writer, "head", Head.LABELS)
    if votes:
        writer.last = pooled
        _head(writer, "votes", Head.VOTES)


def _layer_order(name: str) -> tuple[int, bool]:
    """conv1, then conv_dw_1, conv_pw_1, conv_dw_2, ..."""
    layer = name.removeprefix("features.")
    return (0, False) if layer == "conv1" else (int(layer.rpartition("_")[2]), "_pw_" in layer)


def _stride(name: str, spec: MobileNetSpec) -> int:
    number, pointwise = _layer_order(name)
    if number == 0:
        return spec.stem_stride
    return 1 if pointwise else spec.stride(number)


def _conv_norm(writer: _Writer, name: str, stride: int, bounded: bool = True) -> None:
    channels, _, kernel, _ = writer.weights[f"{name}.weight"].shape
    before, after = ((kernel // 2,) * 2) if stride == 1 else (0, 1)
    groups = channels if "_dw_" in name or name.endswith(".dw") else 1
    weights = [writer.weight(f"{name}.{part}") for part in ("weight", "bias") if f"{name}.{part}" in writer.weights]
    writer.add("Conv", *weights, strides=[stride] * 2, pads=[before, before, after, after], group=groups)
    if f"{name}.norm.bias" in writer.weights:
        _norm(writer, f"{name}.norm")
    if bounded:
        _bound(writer)


def _norm(writer: _Writer, name: str) -> None:
    parts = [writer.weight(f"{name}.{part}") for part in ("weight", "bias", "running_mean", "running_var")]
    writer.add("BatchNormalization", *parts, epsilon=NORM_EPSILON)


def _last_norm(writer: _Writer, name: str) -> None:
    """A norm after a sum, or, folded, the 1x1 convolution of each channel that it comes to."""
    if f"{name}.running_var" in writer.weights:
        _norm(writer, name)
    else:
        weights = [writer.weight(f"{name}.{part}") for part in ("weight", "bias")]
        writer.add("Conv", *weights, group=len(writer.weights[f"{name}.weight"]))


def _bound(writer: _Writer) -> None:
    """ReLU6."""
    writer.add("Clip", writer.constant("zero", 0.0), writer.constant("six", 6.0))


def _dense(writer: _Writer, name: str) -> None:
    writer.add("Gemm", writer.weight(f"{name}.weight"), writer.weight(f"{name}.bias"), transB=1)


def _head(writer: _Writer, name: str, head: Head) -> None:
    _dense(writer, name)
    writer.nodes[-1].output[0] = OUTPUTS[head]
    writer.outputs.append(OUTPUTS[head])


def _cnn(writer: _Writer) -> None:
    for position, name in enumerate(("features.conv1", "features.conv2", "features.conv3")):
        writer.add("Conv", writer.weight(f"{name}.weight"), writer.weight(f"{name}.bias"))
        writer.add("Relu")
        if position < 2:
            writer.add("MaxPool", kernel_shape=[2, 2], strides=[2, 2])
    writer.add("Flatten")
    _dense(writer, "features.dense")
    writer.add("Relu")
    _head(writer, "head", Head.LABELS)
