"""The shipped models are what results/ says of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from mien.data import Faces
from mien.emotions import LABELS
from mien.evaluation import evaluate
from mien.models.load import ASSETS, load_bundle, shipped_models
from mien.models.onnx.session import Session
from mien.models.preprocessing import prepare
from mien.training import Recipe, load_recipe

RESULTS = Path(__file__).resolve().parent.parent / "results"
MODELS = shipped_models()


def result(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((RESULTS / f"{name}.json").read_text())
    return found


@pytest.mark.parametrize("name", MODELS)
def test_each_is_the_file_that_the_figures_name(name: str) -> None:
    bundle = load_bundle(name)
    assert bundle.card.name == name
    assert bundle.card.labels == LABELS
    assert bundle.sha256 == result(name)["validation"]["model"]["sha256"] == result(name)["test"]["model"]["sha256"]
    assert bundle.card.provenance["seed"] == result(name)["seed"]
    assert (result(name)["validation"]["split"], result(name)["test"]["split"]) == ("PublicTest", "PrivateTest")
    assert Recipe.model_validate(bundle.card.provenance["recipe"]) == load_recipe(name)
    assert all(path.stat().st_size < 10_000_000 for path in ASSETS.glob(f"{name}.*"))


@pytest.mark.parametrize("name", MODELS)
def test_each_gives_the_recorded_figures(name: str, fer2013: Faces) -> None:
    """On another processor a face on the edge may tip."""
    found, recorded = evaluate(name, fer2013, "PublicTest").figures, result(name)["validation"]
    assert found["accuracy"] == pytest.approx(recorded["accuracy"], abs=3 / 3589)
    assert found["clean"]["accuracy"] == pytest.approx(recorded["clean"]["accuracy"], abs=3 / 3310)
    assert found["ferplus"]["agreement"] == pytest.approx(recorded["ferplus"]["agreement"], abs=3 / 2000)
    assert found["nll"] == pytest.approx(recorded["nll"], abs=1e-3)


@pytest.mark.parametrize("name", MODELS)
def test_each_onnx_file_answers_as_its_bundle(name: str, drawn: Faces) -> None:
    bundle, path = load_bundle(name), ASSETS / f"{name}.onnx"
    notes = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert notes["bundle_sha256"] == bundle.sha256
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    images = drawn.images[:20]
    found = session.run(None, {"faces": prepare(images, bundle.card.preprocessing)})
    for one, other in zip(found, Session(bundle).logits(images).values(), strict=True):
        assert np.abs(one - other).max() < 1e-4
