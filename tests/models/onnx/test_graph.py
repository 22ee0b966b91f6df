"""The ONNX graph computes what the torch network computes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray

from mien.models.bundle import Bundle, Card
from mien.models.networks.build import Network, build
from mien.models.onnx.graph import INPUT, OUTPUTS, build_graph
from mien.models.onnx.session import Session
from mien.models.preprocessing import Preprocessing, prepare
from mien.models.spec import CnnSpec, CompactSpec, Head, MobileNetSpec, NetworkSpec, heads

SPECS: list[NetworkSpec] = [
    MobileNetSpec(),
    MobileNetSpec(cut=5),
    MobileNetSpec(cut=13, channels=3),
    MobileNetSpec(cut=3, stem_stride=1),
    MobileNetSpec(cut=2, classes=4),
    MobileNetSpec(cut=3, votes=True),
    CompactSpec(),
    CompactSpec(depth=(1, 0), width=64, votes=True),
    MobileNetSpec(cut=6, strides={4: 1, 5: 2, 6: 1}),
    CnnSpec(),
    CnnSpec(classes=3),
]


def trained_like(spec: NetworkSpec) -> Network:
    """A network whose batch norms hold the statistics of noise, and whose every bias and factor differs."""
    torch.manual_seed(0)
    network = build(spec)
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(torch.rand(64, 1, 48, 48))
        for norm in norms:
            norm.weight.uniform_(0.8, 1.2)
            norm.bias.uniform_(-0.2, 0.5)
        for name, tensor in network.named_parameters():
            if name.endswith("bias") and ".norm." not in name:
                tensor.uniform_(-0.2, 0.2)
    return network.eval()


def arrays(network: Network) -> dict[str, NDArray[np.float32]]:
    state = network.state_dict().items()
    return {name: tensor.contiguous().numpy() for name, tensor in state if tensor.is_floating_point()}


@pytest.mark.parametrize("scaling", ["unit", "signed"])
@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_graph_gives_torchs_logits(spec: NetworkSpec, scaling: str) -> None:
    network = trained_like(spec)
    how = Preprocessing(scaling=scaling)
    card = Card(name="x", network=spec, labels=tuple("abcdefg"[: spec.classes]), preprocessing=how)
    weights = arrays(network)
    images = np.random.default_rng(1).integers(0, 256, (5, 48, 48), dtype=np.uint8)
    with torch.no_grad():
        answers = network.every(torch.from_numpy(prepare(images, how)))
        assert torch.equal(answers[Head.LABELS], network(torch.from_numpy(prepare(images, how))))
    assert tuple(answers) == heads(spec)
    every = Session(Bundle(card, weights, build_graph(spec, weights)), threads=1).logits(images, batch=2)
    assert every.keys() == answers.keys()
    for head, found in every.items():
        expected = answers[head].numpy()
        assert found.shape == (5, spec.classes)
        assert found.dtype == np.float32
        assert np.ptp(expected, axis=0).max() > 1e-3  # the faces are told apart at all
        assert np.abs(found - expected).max() < 1e-5 * max(1.0, np.abs(expected).max())


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_the_graph_is_valid_onnx_and_holds_no_numbers(spec: NetworkSpec, tmp_path: Path) -> None:
    weights = arrays(build(spec))
    graph = build_graph(spec, weights)
    assert len(graph) < 30_000
    model = onnx.load_from_string(graph)
    external = [tensor for tensor in model.graph.initializer if tensor.data_location == onnx.TensorProto.EXTERNAL]
    assert {tensor.name for tensor in external} == set(weights)
    for tensor in external:
        assert tuple(tensor.dims) == weights[tensor.name].shape
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
        tensor.raw_data = weights[tensor.name].tobytes()
    onnx.checker.check_model(model, full_check=True)
    assert [value.name for value in model.graph.input] == [INPUT]
    assert [value.name for value in model.graph.output] == [OUTPUTS[head] for head in heads(spec)]


def test_equal_networks_give_equal_graphs() -> None:
    spec = MobileNetSpec(cut=4)
    weights = arrays(build(spec))
    assert build_graph(spec, weights) == build_graph(spec, dict(weights))
