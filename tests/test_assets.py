"""The shipped models are what results/ says of them."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from mien._utils.assets import ASSETS
from mien.data import Faces
from mien.emotions import LABELS
from mien.evaluation import evaluate
from mien.export.onnx_file import save_onnx
from mien.models.load import load_bundle, shipped_models
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
def test_each_is_exported_to_the_same_bytes_each_time_and_answers_as_its_bundle(
    name: str, drawn: Faces, tmp_path: Path
) -> None:
    bundle, path = load_bundle(name), save_onnx(load_bundle(name), tmp_path / "one.onnx")
    assert path.read_bytes() == save_onnx(bundle, tmp_path / "other.onnx").read_bytes()
    notes = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    assert notes["bundle_sha256"] == bundle.sha256
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    images = drawn.images[:20]
    found = session.run(["logits", "votes"], {"faces": prepare(images, bundle.card.preprocessing)})
    for one, other in zip(found, Session(bundle).logits(images).values(), strict=True):
        assert np.abs(one - other).max() < 1e-4


def test_the_wheel_has_everything_once_in_20_megabytes(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=RESULTS.parent, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("mien-*.whl")
    assert wheel.stat().st_size <= 20_000_000
    with zipfile.ZipFile(wheel) as archive:
        files = {member.filename: archive.read(member) for member in archive.infolist()}
    large = {name: data for name, data in files.items() if len(data) > 50_000}
    assert len({hashlib.sha256(data).digest() for data in large.values()}) == len(large)
    assert max(map(len, files.values())) < 10_000_000
    assets = {name.rpartition("/")[2] for name in files if name.startswith("mien/assets/")}
    assert assets == {path.name for path in ASSETS.iterdir()}
    assert assets > {"best.mien", "tiny.mien", "mobilenet_imagenet.safetensors", "ferplus_votes.npz"}
    (notice,) = (data.decode() for name, data in files.items() if name.endswith("NOTICE"))
    assert all(f"src/mien/assets/{name}" in notice for name in assets)
    assert "mien/training/recipes/fast.yaml" in files
