"""Exported ONNX files read back as models, and one clear error for what is none."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from mien.data import Faces
from mien.errors import ModelError
from mien.evaluation import evaluate
from mien.export.onnx_file import annotate, metadata, save_onnx
from mien.inference import Predictor
from mien.models.bundle import Bundle, save_bundle
from mien.models.load import load_bundle
from mien.models.onnx.session import Session
from support.bundles import small_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    return save_bundle(small_bundle(), tmp_path_factory.mktemp("small") / "small.mien")


@pytest.fixture(scope="module")
def exported(bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle as ONNX; tests only read it."""
    return save_onnx(bundle, tmp_path_factory.mktemp("exported") / "small.onnx")


def test_it_is_read_as_the_model_that_it_is(bundle: Bundle, exported: Path, drawn: Faces) -> None:
    found = load_bundle(exported)
    provenance = bundle.card.provenance | {"bundle_sha256": bundle.sha256, "export": None}
    assert found.card == bundle.card.model_copy(update={"provenance": provenance})
    assert found.parameters == bundle.parameters
    assert found.sha256 not in ("", bundle.sha256)
    assert found.path == exported


def test_predictor_and_evaluate_take_it_by_path(bundle: Bundle, exported: Path, drawn: Faces) -> None:
    expected = Predictor(bundle).faces(drawn.images[:20])
    for one, other in zip(Predictor(exported).faces(drawn.images[:20]), expected, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
    evaluated, as_bundle = evaluate(exported, drawn, "PublicTest"), evaluate(bundle, drawn, "PublicTest")
    assert evaluated.accuracy == as_bundle.accuracy
    assert evaluated.to_dict()["model"]["sha256"] == load_bundle(exported).sha256


def test_its_weights_are_not_for_training(exported: Path) -> None:
    with pytest.raises(ModelError, match=r"small.onnx: an exported model only runs; .* Name the .mien bundle"):
        load_bundle(exported).state()


def foreign(inputs: str = "faces", classes: int = 7, notes: dict[str, str] | None = None) -> bytes:
    """An ONNX model of another hand: the mean of its input, times a row."""
    row = helper.make_tensor("row", TensorProto.FLOAT, [1, classes], np.ones(classes))
    nodes = [
        helper.make_node("GlobalAveragePool", [inputs], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "row"], ["logits"]),
    ]
    takes = [helper.make_tensor_value_info(inputs, TensorProto.FLOAT, ["n", 1, 48, 48])]
    gives = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", classes])]
    graph = helper.make_graph(nodes, "foreign", takes, gives, [row])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    annotate(model, notes or {})
    return bytes(model.SerializeToString())


def changed(bundle: Bundle, **changes: str) -> dict[str, str]:
    return metadata(bundle) | changes


def test_another_hands_model_is_one_clear_error(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    for data, what in (
        (b"", "its graph does not run"),
        (b"not a model", "its graph does not run"),
        (foreign(), "not a model that mien exported: its metadata lack 'labels'"),
        (foreign(notes={"labels": "[]"}), "its metadata lack 'network'"),
        (foreign(notes=changed(bundle, network="{")), "its metadata are unreadable"),
        (foreign(notes=changed(bundle, preprocessing="3")), "its metadata are unreadable"),
        (foreign(notes=changed(bundle, calibration='{"temperature": 0}')), "does not fit this version of mien"),
        (foreign(notes=changed(bundle, preprocessing='{"scaling": "signed", "factor": 1, "offset": 0}')), "factor"),
        (foreign(notes=changed(bundle, labels='["a", "b"]')), "7 classes but 2 labels"),
    ):
        path.write_bytes(data)
        with pytest.raises(ModelError, match=what):
            load_bundle(path)


def test_a_graph_that_is_not_what_the_metadata_say_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    for data in (foreign("pixels", notes=metadata(bundle)), foreign(classes=8, notes=metadata(bundle))):
        path.write_bytes(data)
        with pytest.raises(ModelError, match=r"x.onnx: its graph's inputs or outputs differ from its card"):
            Session(load_bundle(path))
    path.write_bytes(foreign(notes=metadata(bundle)))
    assert Session(load_bundle(path)).logits(np.zeros((2, 48, 48), np.uint8))["labels"].shape == (2, 7)  # type: ignore[index]


KEYS = ["labels", "network", "preprocessing", "calibration", "provenance", "parameters"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(max_examples=40)
@given(
    key=st.sampled_from(["labels", "network", "preprocessing", "calibration", "provenance", "parameters"]), value=JSON
)
def test_whatever_its_metadata_say_it_loads_or_is_refused(
    key: str, value: Any, bundle: Bundle, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.onnx"
    path.write_bytes(foreign(notes=changed(bundle, **{key: json.dumps(value)})))
    with suppress(ModelError):
        assert len(load_bundle(path).card.labels) == 7


@settings(max_examples=40)
@given(part=st.floats(0, 0.999))
def test_a_cut_file_is_refused(part: float, exported: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    data = exported.read_bytes()
    path = tmp_path_factory.getbasetemp() / "cut.onnx"
    path.write_bytes(data[: int(part * len(data))])
    with pytest.raises(ModelError, match=r"cut\.onnx"):
        load_bundle(path)
    assert onnx.load(exported).producer_name == "mien"
