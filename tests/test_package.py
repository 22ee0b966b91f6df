"""The package as a whole: what importing it does and does not do."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import FunctionType
from typing import TYPE_CHECKING

import pytest

import mien
from mien.data import Faces

if TYPE_CHECKING:
    from mien.training import Run

IMPORT = """
import sys
before = set(sys.modules)
import mien
heavy = {'numpy', 'torch', 'lightning', 'onnxruntime', 'onnx', 'cv2', 'PIL', 'matplotlib', 'sklearn', 'pydantic'}
assert not heavy & (set(sys.modules) - before), heavy & set(sys.modules)
"""


def test_the_public_names() -> None:
    assert mien.__all__ == [
        "Emotion", "Face", "Faces", "Prediction", "Predictor",
        "crop_photos", "evaluate", "evaluate_photos", "export_model", "load_faces", "predict", "to_dataframe",
        "to_rows", "train",
    ]  # fmt: skip
    assert dir(mien) == sorted([*mien.__all__, "__version__"])
    for name in mien.__all__:
        assert callable(getattr(mien, name))
        assert getattr(mien, name).__doc__


def test_train_and_evaluate_are_plain_functions(tiny_run: Run, drawn: Faces, tmp_path: Path) -> None:
    from mien.training import load_recipe

    assert isinstance(mien.train, FunctionType)
    assert isinstance(mien.evaluate, FunctionType)
    recipe = load_recipe("cnn-plain", ["phases.0.epochs=1"])
    run = mien.train(recipe, drawn, tmp_path / "run", device="cpu")
    assert isinstance(run, type(tiny_run))
    for _ in range(2):
        assert mien.evaluate(tiny_run.out, drawn, split="PrivateTest").figures["n"] == 15
    with pytest.raises(TypeError, match="missing 3 required"):
        mien.train()  # type: ignore[call-arg]


def test_the_first_look_up_is_as_good_as_the_second() -> None:
    script = "import mien\nassert callable(mien.evaluate) and callable(mien.evaluate)"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_name_that_is_not_there_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'mien' has no attribute 'Detector'"):
        _ = mien.Detector


def test_the_version_is_the_installed_ones() -> None:
    assert mien.__version__ == metadata.version("mien")


def test_importing_loads_nothing_heavy_says_nothing_and_writes_nothing(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MIEN_", "XDG_"))}
    environment |= {"HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    ran = subprocess.run(
        [sys.executable, "-c", IMPORT], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


def test_the_module_runs_as_the_command() -> None:
    ran = subprocess.run([sys.executable, "-m", "mien", "--help"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0
    for command in ("train", "evaluate", "predict", "show", "report", "export", "summary", "demo", "data"):
        assert command in ran.stdout
