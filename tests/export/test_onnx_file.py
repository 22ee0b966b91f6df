"""A bundle as one ordinary ONNX file: the same answers from a plain ONNX Runtime session."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from mien.data import Faces
from mien.emotions import Output
from mien.export.onnx_file import save_onnx
from mien.models.bundle import Answer, Bundle, Calibration, Card, save_bundle
from mien.models.networks.build import build
from mien.models.onnx.graph import build_graph
from mien.models.onnx.session import Session
from mien.models.preprocessing import Preprocessing
from mien.models.spec import CnnSpec, CompactSpec, Head, MobileNetSpec, NetworkSpec


def bundle_of(spec: NetworkSpec, path: Path) -> Bundle:
    """A bundle of random weights whose norms do something."""
    torch.manual_seed(0)
    network = build(spec)
    with torch.no_grad():
        for tensor in network.state_dict().values():
            if tensor.is_floating_point() and tensor.ndim == 1:
                tensor.uniform_(0.5, 1.5)
    weights = {name: t.contiguous().numpy() for name, t in network.state_dict().items() if t.is_floating_point()}
    answer = Answer(weight=0.3, exponent=0.5, temperature=0.8)
    shares = {Output.FERPLUS: (0.1, 0.02, 0.03, 0.25, 0.15, 0.15, 0.3)}
    calibration = Calibration(temperature=1.5, votes_temperature=0.5, answer=answer, shares=shares)
    card = Card(name="x", network=spec, preprocessing=Preprocessing(scaling="signed"), calibration=calibration)
    return save_bundle(Bundle(card, weights, build_graph(spec, weights)), path)


@pytest.mark.parametrize(
    "spec", [MobileNetSpec(cut=4, votes=True), MobileNetSpec(cut=2, channels=3), CompactSpec(), CnnSpec()], ids=str
)
def test_it_answers_as_the_bundle(spec: NetworkSpec, drawn: Faces, tmp_path: Path) -> None:
    bundle = bundle_of(spec, tmp_path / "x.mien")
    path = save_onnx(bundle, tmp_path / "x.onnx")
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    notes = session.get_modelmeta().custom_metadata_map
    how = json.loads(notes["preprocessing"])
    x = drawn.images[:9, None].astype(np.float32) * how["factor"] + how["offset"]
    expected = [Session(bundle).output(drawn.images[:9]), *Session(bundle).logits(drawn.images[:9]).values()]
    found = session.run(None, {"faces": x.astype(np.float32)})
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert np.abs(one - other).max() < 1e-5 * max(1.0, np.abs(other).max())


def test_labels_temperatures_and_provenance_travel(tmp_path: Path) -> None:
    bundle = bundle_of(MobileNetSpec(cut=2, votes=True), tmp_path / "x.mien")
    model = onnx.load(save_onnx(bundle, tmp_path / "x.onnx"))
    notes = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(notes["labels"]) == list(bundle.card.labels)
    assert json.loads(notes["calibration"]) == bundle.card.calibration.model_dump(mode="json")
    assert notes["output"] == "default: 0.3 FER2013 head + 0.7 FER+ head / prior^0.5"
    assert notes["bundle_sha256"] == bundle.sha256
    kinds = {node.op_type for node in model.graph.node}
    assert "BatchNormalization" not in kinds
    assert [output.name for output in model.graph.output] == ["probabilities", "logits", "votes"]
    assert bundle.card.heads == (Head.LABELS, Head.VOTES)
