"""Exports: each answers as its bundle, says so in its metadata, and is not let out where it does not."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

import mien.export.exporter as exporting
from mien.data import Faces
from mien.errors import DataError, ExportError, MienError, ModelError
from mien.evaluation import evaluate
from mien.export.exporter import Target, export_model
from mien.export.onnx_file import onnx_model
from mien.export.quantization import quantized
from mien.export.torchscript import NOTES, run_script
from mien.models.bundle import Bundle, Card
from mien.models.load import load_bundle, shipped_models
from mien.models.networks.build import build
from mien.models.onnx.graph import build_graph
from mien.models.onnx.session import Session
from mien.models.preprocessing import prepare
from mien.training import load_recipe
from support.bundles import constant_int8

if TYPE_CHECKING:
    from mien.training import Run

LARGEST = {"best": 5_000_000, "tiny": 400_000}
"""Bytes that a model in int8 may have."""


@pytest.fixture(scope="module")
def bundle(tiny_run: Run) -> Bundle:
    """A small trained bundle, on disk."""
    return load_bundle(tiny_run.out)


def notes_of(path: Path) -> dict[str, str]:
    return {entry.key: entry.value for entry in onnx.load(path).metadata_props}


def test_onnx_answers_as_its_bundle_and_says_where_it_is_from(bundle: Bundle, drawn: Faces, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    made = export_model(bundle, path)
    assert made.check["passed"]
    assert made.check["difference"] <= made.check["bound"] == 1e-4
    assert (made.size, made.sha256) == (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
    found, expected = Session(load_bundle(path)), Session(bundle)
    for head, rows in expected.probabilities(drawn.images).items():
        assert np.abs(found.probabilities(drawn.images)[head] - rows).max() < 1e-4
    notes = notes_of(path)
    assert notes["bundle_sha256"] == bundle.sha256
    export = json.loads(notes["export"])
    assert export["check"] == made.check == made.to_dict()["check"]
    assert (export["to"], export["opset"]) == ("onnx", onnx.load(path).opset_import[0].version)


def test_torchscript_takes_pixels_and_gives_probabilities(bundle: Bundle, drawn: Faces, tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    made = export_model(bundle, path, "torchscript", drawn)
    assert made.check["passed"]
    assert made.check["faces"] == 15
    session = Session(bundle)
    expected = [session.output(drawn.images[:5]), *session.probabilities(drawn.images[:5]).values()]
    for rows, one in zip(run_script(path, drawn.images[:5], batch=2), expected, strict=True):
        assert np.abs(rows - one).max() < 1e-4
    extra = {NOTES: ""}
    module = torch.jit.load(str(path), _extra_files=extra)
    assert json.loads(extra[NOTES])["bundle_sha256"] == bundle.sha256
    as_float = module(torch.from_numpy(drawn.images[:1]).float())
    assert torch.equal(as_float[0], module(torch.from_numpy(drawn.images[:1]))[0])


def test_int8_is_evaluated_on_public_test(bundle: Bundle, drawn: Faces, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    made = export_model(bundle, path, "onnx-int8", drawn, drop=0.14)  # two of the fifteen faces
    evaluated = {"bundle": evaluate(bundle, drawn, "PublicTest"), "export": evaluate(path, drawn, "PublicTest")}
    for name, one in evaluated.items():
        assert made.check[name]["accuracy"] == one.accuracy
    assert made.check["lost"]["accuracy"] == evaluated["bundle"].accuracy - evaluated["export"].accuracy
    assert made.check["lost"]["agreement"] is None
    assert evaluated["export"].to_dict()["model"] == {
        "name": "short-int8", "sha256": made.sha256, "parameters": bundle.parameters
    }  # fmt: skip
    scheme = json.loads(notes_of(path)["quantization"])
    assert (scheme["faces"], scheme["data"]["fingerprint"]) == (120, drawn.fingerprint)
    assert made.size < len(onnx_model(bundle).SerializeToString())


def test_agreement_with_what_people_see_is_reported(bundle: Bundle, drawn: Faces, tmp_path: Path) -> None:
    votes = np.zeros((len(drawn), 10), np.uint8)
    votes[:, 1] = 10  # all see happiness
    made = export_model(bundle, tmp_path / "x.onnx", "onnx-int8", replace(drawn, votes=votes), drop=0.14)
    before, after = made.check["bundle"]["agreement"], made.check["export"]["agreement"]
    assert 0 <= min(before, after) <= max(before, after) <= 1
    assert made.check["lost"]["agreement"] == before - after


def test_int8_uses_seven_bits_a_scale_for_each_channel_and_leaves_no_float_layer(
    bundle: Bundle, drawn: Faces, tmp_path: Path
) -> None:
    model = quantized(onnx_model(bundle), prepare(drawn.images[:32], bundle.card.preprocessing))
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    makers = {output: node for node in model.graph.node for output in node.output}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    assert len(convolutions) == 7
    for node in convolutions:
        assert all(makers[name].op_type == "DequantizeLinear" for name in node.input)
        weight, scale = (constants[name] for name in makers[node.input[1]].input[:2])
        assert weight.dtype == np.int8
        assert np.abs(weight.astype(int)).max() <= 64
        assert scale.shape == weight.shape[:1]
    kinds = [node.op_type for node in model.graph.node]
    assert "Clip" not in kinds
    assert "BatchNormalization" not in kinds
    assert {entry.key for entry in model.metadata_props} == {entry.key for entry in onnx_model(bundle).metadata_props}
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 17)]


def untrained(name: str) -> Bundle:
    """The network of a recipe, as it is before training."""
    recipe = load_recipe(name)
    state = build(recipe.network).state_dict()
    weights = {key: tensor.contiguous().numpy() for key, tensor in state.items() if tensor.is_floating_point()}
    card = Card(name=name, network=recipe.network, preprocessing=recipe.preprocessing)
    return Bundle(card, weights, build_graph(recipe.network, weights))


@pytest.mark.parametrize("name", sorted({"tiny", *shipped_models()}))
def test_int8_is_small(name: str, drawn: Faces) -> None:
    """No less than the weights themselves, a byte each, and no more than was promised."""
    bundle = load_bundle(name) if name in shipped_models() else untrained(name)
    model = quantized(onnx_model(bundle), prepare(drawn.images[:8], bundle.card.preprocessing))
    assert 0.9 * bundle.parameters < len(model.SerializeToString()) <= LARGEST[name]


def test_a_ruined_int8_is_not_let_out(
    bundle: Bundle, drawn: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporting, "quantized", constant_int8)
    path = tmp_path / "x.onnx"
    path.write_bytes(b"an older file")
    right = evaluate(bundle, drawn, "PublicTest").accuracy
    lost = 100 * (right - float((drawn.select("PublicTest").emotion == 1).mean()))
    with pytest.raises(ExportError, match=f"loses {lost:.2f} points of accuracy on PublicTest, and 0.5 is the most"):
        export_model(bundle, path, "onnx-int8", drawn, drop=exporting.DROP)
    assert path.read_bytes() == b"an older file"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("to", ["onnx", "torchscript"])
def test_a_bound_that_is_not_met_leaves_nothing(bundle: Bundle, tmp_path: Path, to: str) -> None:
    path = tmp_path / f"x{exporting.SUFFIXES[Target(to)][0]}"
    with pytest.raises(ExportError, match=r"a probability is off by [\d.e-]+, and 1e-12 is the most that passes"):
        export_model(bundle, path, to, parity=1e-12)
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_is_refused_before_anything_is_written(bundle: Bundle, drawn: Faces, tmp_path: Path) -> None:
    out = tmp_path / "x.onnx"
    training = drawn.select("Training")
    refused: list[tuple[tuple[Any, ...], type[MienError], str]] = [
        ((bundle, out, "onnx-int8"), ExportError, "Name a data set with --data"),
        ((bundle, out, "coreml"), ExportError, "Choose one of onnx, onnx-int8, torchscript"),
        ((bundle, tmp_path / "x.pt", "onnx"), ExportError, "onnx goes into a file that ends in .onnx"),
        ((bundle, out, "onnx-int8", training), DataError, "no faces in the split PublicTest"),
        ((bundle, out, "onnx-int8", drawn.select("PublicTest")), DataError, "no faces in the split Training"),
        ((tmp_path / "none.mien", out), ModelError, "no such model"),
    ]
    for arguments, error, what in refused:
        with pytest.raises(error, match=what):
            export_model(*arguments)
    assert not list(tmp_path.iterdir())


def test_an_export_is_not_exported_again(bundle: Bundle, tmp_path: Path) -> None:
    first = export_model(bundle, tmp_path / "x.onnx")
    with pytest.raises(ModelError, match=r"its weights stay in its graph. Name the .mien bundle"):
        export_model(first.path, tmp_path / "y.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["x.onnx"]


def test_on_few_faces_one_may_be_lost(bundle: Bundle, drawn: Faces, tmp_path: Path) -> None:
    """Half a point of fifteen faces is less than one face, so that no answer could change at all."""
    assert export_model(bundle, tmp_path / "x.onnx", "onnx-int8", drawn, drop=1).check["bound"] == 1
    check = exporting._check_accuracy(bundle, tmp_path / "x.onnx", drawn, None)
    assert check["bound"] == 1 / 15
