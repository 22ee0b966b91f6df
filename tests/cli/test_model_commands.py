"""``mien train``, ``evaluate``, ``show``, ``summary`` and ``demo`` as a user runs them; ``predict`` without extras."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from conftest import Ran, write_recipe
from mien.data import Faces
from mien.data.writers import convert_faces
from mien.emotions import LABELS
from mien.evaluation import evaluate
from mien.inference import Predictor
from mien.models.load import load_bundle

if TYPE_CHECKING:
    from mien.training import Run

Mien = Callable[..., Ran]


def only_line(ran: Ran) -> str:
    """The one line on stderr of a command that was refused with exit code 2."""
    assert (ran.code, ran.out) == (2, ""), ran
    assert ran.err.count("\n") == 1
    assert ran.err.startswith("error: ")
    return ran.err


def test_a_model_that_is_missing_or_damaged_is_one_line(mien: Mien, crops: list[Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.mien"
    damaged.write_bytes(b"PK\x03\x04 and then nothing")
    for model, what in (
        (tmp_path / "none.mien", "no such model"),
        (tmp_path, "this folder holds no best.mien"),
        (damaged, "not a mien bundle"),
    ):
        for command in (
            ["predict", crops[0], "--model", model],
            ["evaluate", model],
            ["show", model, tmp_path / "x.png", "--index", 0],
        ):
            line = only_line(mien(*command))
            assert what in line
            assert str(model) in line


def test_evaluate_json_is_one_document(
    mien: Mien, tiny_run: Run, drawn_csv: Path, drawn: Faces, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ran = mien("evaluate", tiny_run.out, "--data", drawn_csv, "--split", "PrivateTest", "--json", "--out", out)
    assert ran.code == 0
    found = json.loads(ran.out)
    assert tiny_run.bundle is not None
    expected = evaluate(tiny_run.bundle, drawn, "PrivateTest").to_dict()
    for figures in (found, expected):
        figures.pop("seconds")
        figures["data"].pop("name")
    assert found == expected
    assert [line.rpartition("/")[2] for line in ran.err.splitlines()] == [
        f"PrivateTest-{name}"
        for name in ("metrics.json", "predictions.csv", "confusion.png", "classes.png", "labels.png")
    ]
    assert len(list(out.iterdir())) == 5


def test_evaluate_prints_its_figures(mien: Mien, tiny_run: Run, drawn_csv: Path) -> None:
    ran = mien("evaluate", tiny_run.out, "--data", drawn_csv)
    assert (ran.code, ran.err) == (0, "")
    assert tiny_run.bundle is not None
    figures = evaluate(tiny_run.bundle, drawn_csv, "PublicTest").figures
    for part in (
        f"accuracy {figures['accuracy']:.2%}  (clean ",
        f"macro F1 {figures['macro_f1']:.3f}   NLL {figures['nll']:.3f}   ECE {figures['ece']:.3f}",
        "drawn.csv, PublicTest: 15 faces, single view",
        f"{tiny_run.bundle.parameters:,} parameters",
    ):
        assert part in ran.out


def test_evaluate_refuses_splits_that_are_not_there(mien: Mien, tiny_run: Run, drawn_csv: Path) -> None:
    assert "no split 'validation'" in only_line(
        mien("evaluate", tiny_run.out, "--data", drawn_csv, "--split", "validation")
    )


def test_show_draws_and_prints_seven_percentages(
    mien: Mien, tiny_run: Run, drawn_csv: Path, drawn: Faces, tmp_path: Path
) -> None:
    picture = tmp_path / "face.png"
    ran = mien("show", tiny_run.out, picture, "--index", 6, "--data", drawn_csv)
    assert (ran.code, ran.err) == (0, "")
    with Image.open(picture) as image:
        assert image.format == "PNG"
        assert min(image.size) > 100
    first, *lines = ran.out.splitlines()
    public = drawn.select("PublicTest")
    assert first == f"true: {LABELS[public.emotion[6]]}"
    found = dict(re.fullmatch(r"(\w+) +([\d.]+)%", line).groups() for line in lines)  # type: ignore[union-attr]
    assert list(found) == list(LABELS)
    assert sum(map(float, found.values())) == pytest.approx(100, abs=0.04)
    face = Predictor(tiny_run.out).faces(public.images[6:7])[0]
    assert {name: float(share) for name, share in found.items()} == pytest.approx(
        {name: 100 * share for name, share in face.probabilities.items()}, abs=0.0051
    )
    as_json = json.loads(mien("show", tiny_run.out, picture, "--index", 6, "--data", drawn_csv, "--json").out)
    assert as_json["probabilities"] == pytest.approx(face.probabilities, abs=1e-6)
    assert (as_json["true"], as_json["index"], as_json["split"]) == (LABELS[public.emotion[6]], 6, "PublicTest")


def test_show_refuses_an_index_that_is_not_there(mien: Mien, tiny_run: Run, drawn_csv: Path, tmp_path: Path) -> None:
    picture = tmp_path / "face.png"
    line = only_line(mien("show", tiny_run.out, picture, "--index", 15, "--data", drawn_csv))
    assert "there is no face 15. It has 0 to 14." in line
    assert mien("show", tiny_run.out, picture, "--index", -1, "--data", drawn_csv).code == 2
    assert not picture.exists()


def test_train_leaves_a_evaluated_run(mien: Mien, drawn: Faces, tmp_path: Path) -> None:
    data, out = convert_faces(drawn, tmp_path / "d.csv", "csv"), tmp_path / "run"
    recipe = write_recipe(tmp_path / "tiny.yaml")
    ran = mien(
        "train", recipe, "--data", data, "--out", out, "--seed", 4, "--set", "phases.1.epochs=1", "--device", "cpu"
    )
    assert ran.code == 0, ran.err
    assert [line.split()[:3] for line in ran.err.splitlines()] == [
        ["head", "epoch", "1"], ["head", "epoch", "2"], ["all", "epoch", "3"]
    ]  # fmt: skip
    assert "SHA-256" in ran.out
    result = json.loads((out / "result.json").read_text())
    assert result["command"] == f"mien train {recipe} --data D --out RUN --set phases.1.epochs=1 --seed 4"
    assert (result["epochs"], result["seed"]) == (3, 4)
    assert result["roles"] == {"train": "Training", "validation": "PublicTest", "test": "PrivateTest"}
    assert (result["validation"]["split"], result["test"]["split"]) == ("PublicTest", "PrivateTest")
    bundle = load_bundle(out)
    assert result["test"]["model"]["sha256"] == bundle.sha256
    # The bundle that is evaluated is the last epoch's, as nothing restores an earlier one here.
    assert result["validation"]["accuracy"] == pytest.approx(result["history"][-1]["val_accuracy"])
    for name in ("history.png", "labels.png", "PublicTest-confusion.png", "PrivateTest-predictions.csv"):
        assert (out / name).is_file()
    assert "there is a run already" in only_line(mien("train", recipe, "--data", data, "--out", out))


def test_train_refuses_a_recipe_or_data_that_are_not_there(mien: Mien, drawn_csv: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert "no recipe 'nonsense'" in only_line(mien("train", "nonsense", "--data", drawn_csv, "--out", out))
    assert "none.csv" in only_line(mien("train", "cnn-plain", "--data", tmp_path / "none.csv", "--out", out))
    weights = tmp_path / "none.h5"
    line = only_line(mien("train", "article", "--data", drawn_csv, "--out", out, "--weights", weights))
    assert f"{weights}: no such file of ImageNet weights" in line


def test_summary_of_a_bundle_is_that_of_its_recipe(mien: Mien, tiny_run: Run, tmp_path: Path) -> None:
    by_bundle = json.loads(mien("summary", tiny_run.out, "--json").out)
    by_recipe = json.loads(mien("summary", write_recipe(tmp_path / "tiny.yaml"), "--json").out)
    assert by_bundle == by_recipe
    assert tiny_run.bundle is not None
    assert by_bundle["stored_parameters"] == tiny_run.bundle.parameters
    picture = tmp_path / "structure.svg"
    ran = mien("summary", tiny_run.out, "--plot", picture)
    assert (ran.code, ran.err) == (0, f"drawn to {picture}\n")
    assert "<svg" in picture.read_text()[:2000]
    assert "phase head: " in ran.out
    assert f"{by_bundle['parameters']:,} as Keras counts them" in ran.out


def test_the_demo_does_the_main_job(
    mien: Mien, drawn_csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mien.cli.demo.SHORTENED", ("phases.0.epochs=1", "phases.1.epochs=1"))
    out = tmp_path / "demo"
    ran = mien("demo", "--data", drawn_csv, "--out", out, "--json")
    assert ran.code == 0, ran.err
    found = json.loads(ran.out)
    assert found["name"] == "article"
    assert found["command"] == "mien train article --data D --out RUN --set phases.0.epochs=1 --set phases.1.epochs=1"
    assert found["face"]["emotion"] in LABELS
    made = {Path(path) for path in found["files"]}
    assert made == {path for path in made if path.is_file() and path.stat().st_size > 1000}
    names = {path.relative_to(out).as_posix() for path in made}
    assert {"report.html", "structure.png", "predictions.png", "face.png", "run/best.mien", "model.onnx"} < names
    assert (out / "examples_48_48_1" / "Sad_48_48_1.png").is_file()
    assert load_bundle(out / "model.onnx").card.provenance["recipe"]["imagenet"] is True
    assert "1/5 data" in ran.err


BASE_ONLY = """
import importlib.abc, sys

EXTRAS = {'h5py', 'kagglehub', 'lightning', 'matplotlib', 'onnx', 'onnxscript', 'pyarrow', 'scipy', 'sklearn',
          'tensorboardX', 'torch', 'pandas', 'requests'}

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.partition('.')[0] in EXTRAS:
            raise ModuleNotFoundError(f'No module named {name!r}', name=name)
        return None

sys.meta_path.insert(0, Absent())
from mien.cli import main
main()
"""


def without_extras(*arguments: object) -> Ran:
    """Run a command in an interpreter that finds the base packages only."""
    command = [sys.executable, "-c", BASE_ONLY, *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return Ran(ran.returncode, ran.stdout, ran.stderr)


def test_a_base_install_predicts(tiny_run: Run, crops: list[Path]) -> None:
    ran = without_extras("predict", *crops, "--model", tiny_run.out, "--detector", "none", "--json")
    assert (ran.code, ran.err) == (0, "")
    expected = Predictor(tiny_run.out).crops(crops)
    for line, one in zip(ran.out.splitlines(), expected, strict=True):
        assert json.loads(line)["faces"][0]["probabilities"] == pytest.approx(one.faces[0].probabilities, abs=1e-6)


@pytest.mark.parametrize(
    ("command", "package"),
    [
        (["train", "toy", "--out", "x"], "torch"),
        (["summary", "toy"], "torch"),
        (["evaluate", "x.mien"], "sklearn"),
        (["show", "x.mien", "x.png", "--index", "0"], "matplotlib"),
        (["report", "x.mien"], "torch"),
        (["export", "x.mien", "x.onnx"], "onnx"),
        (["demo"], "lightning"),
    ],
)
def test_a_missing_extra_is_named_in_one_line(command: list[str], package: str) -> None:
    line = only_line(without_extras(*command))
    assert line == f"error: this needs the package {package}, which is not installed. Run: pip install 'mien[train]'\n"
