"""Classes of one's own, from a folder of pictures through every command, the service and the API."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import cv2
import httpx
import numpy as np
import onnx
import pytest
from PIL import Image

from conftest import Ran, tiny_recipe
from mien.cli import main
from mien.data import Faces, load_faces
from mien.data.splits import with_splits
from mien.evaluation import evaluate
from mien.evaluation.report.page import make_report
from mien.export.exporter import export_model
from mien.inference import Predictor
from mien.models.load import load_bundle
from mien.serving.api.app import create_app
from mien.training import load_recipe, train
from support.custom_classes import draw_own, put_image
from support.running_service import encoded, running

Mien = Callable[..., Ran]
NAMES = ("big smile", "calm", "überrascht")
EACH = 40
PNG = {"Content-Type": "image/png"}


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three folders of pictures in colour and gray, of several sizes and kinds of file, without splits."""
    root = tmp_path_factory.mktemp("own") / "crops"
    for name, images in draw_own(NAMES, EACH).items():
        for number, image in enumerate(images):
            form = ("L", "RGB", "RGBA")[number % 3]
            size = (None, (96, 96), (64, 80))[number % 3]
            put_image(root / name / f"{number}.png", image, form, size)
    return root


@pytest.fixture(scope="module")
def run(crops: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of the recipe for it on these, by the command."""
    folder = tmp_path_factory.mktemp("own-run")
    sets = ["--set", "phases.0.epochs=3", "--set", "phases.1.epochs=3", "--device", "cpu"]
    command = ["train", "finetune", "--init", "tiny", "--data", crops, "--out", folder / "run", *sets]
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stderr(said), redirect_stdout(io.StringIO()):
        patch.setattr(sys, "argv", ["mien", *map(str, command)])
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 0, said.getvalue()
    assert "crops: made PublicTest (15% of each class) and PrivateTest (15% of each class)" in said.getvalue()
    return folder / "run"


def test_the_bundle_knows_its_classes_and_where_its_splits_come_from(run: Path, crops: Path) -> None:
    card, tiny = load_bundle(run).card, load_bundle("tiny")
    assert card.labels == NAMES
    assert card.network == tiny.card.network.model_copy(update={"classes": 3, "votes": False})
    assert card.provenance["start"] == {"name": "tiny", "sha256": tiny.sha256}
    assert card.provenance["recipe"]["start"] == "tiny"
    assert card.calibration.temperature > 0
    norm = "features.conv1.norm.running_mean"  # frozen, so it stays what it was
    np.testing.assert_array_equal(load_bundle(run).weights[norm], tiny.weights[norm])
    assert card.provenance["data"]["splits"] == {"Training": 84, "PublicTest": 18, "PrivateTest": 18}
    assert card.provenance["notes"] == list(load_faces(crops).notes)
    assert json.loads((run / "result.json").read_text())["test"]["data"]["fingerprint"] == load_faces(crops).fingerprint


def test_evaluate_and_show(mien: Mien, run: Path, crops: Path, tmp_path: Path) -> None:
    ran = mien("evaluate", run / "best.mien", "--data", crops, "--out", tmp_path / "out", "--json")
    said = json.loads(ran.out)
    assert (ran.code, said["n"], list(said["per_class"]), said["ferplus"]) == (0, 18, list(NAMES), None)
    assert said["accuracy"] > 0.5  # a third is chance
    ran = mien("evaluate", run, "--data", crops, "--split", "PrivateTest")
    assert ran.code == 0
    assert "überrascht" in ran.out
    ran = mien("show", run, tmp_path / "face.png", "--data", crops, "--index", 3, "--attribution")
    assert ran.code == 0
    assert all(name in ran.out for name in NAMES)


def test_a_model_of_other_classes_is_refused_in_one_line(mien: Mien, crops: Path) -> None:
    ran = mien("evaluate", "tiny", "--data", crops)
    assert ran.code == 2
    assert "its classes are not the model's (Angry, Disgust" in ran.err


def test_report(mien: Mien, run: Path, crops: Path, tmp_path: Path) -> None:
    ran = mien("report", run, "--data", crops, "--out", tmp_path / "report.html", "--compare", "tiny")
    assert ran.code == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in NAMES)
    assert "Disgust" not in page.replace("Angry, Disgust, Fear", "")  # but in why tiny cannot be compared


def test_predict_photos_and_crops(mien: Mien, run: Path, crops: Path, tmp_path: Path) -> None:
    outputs = ("--csv", tmp_path / "a.csv", "--parquet", tmp_path / "a.parquet", "--annotate", tmp_path / "drawn")
    ran = mien("predict", crops / "calm", "--model", run / "best.mien", "--detector", "none", *outputs, "--json")
    assert ran.code == 0
    answers = [json.loads(line) for line in ran.out.splitlines()]
    assert len(answers) == EACH
    assert list(answers[0]["faces"][0]["probabilities"]) == list(NAMES)
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        assert set(NAMES) < set(next(csv.DictReader(file)))
    photo = pytest.importorskip("matplotlib.cbook").get_sample_data("grace_hopper.jpg")
    path = tmp_path / "photo.jpg"
    Image.open(photo).convert("RGB").save(path)
    ran = mien("predict", path, "--model", run / "best.mien", "--json")
    assert json.loads(ran.out)["faces"][0]["emotion"] in NAMES
    assert mien("predict", path, "--model", run).out.splitlines()[1].startswith("big smile ")


@pytest.mark.parametrize(("to", "name"), [("onnx", "a.onnx"), ("onnx-int8", "b.onnx"), ("torchscript", "c.pt")])
def test_exports(mien: Mien, run: Path, crops: Path, tmp_path: Path, to: str, name: str) -> None:
    ran = mien("export", run, tmp_path / name, "--to", to, "--data", crops)
    assert ran.code == 0, ran.err
    if name.endswith(".onnx"):
        notes = {one.key: one.value for one in onnx.load(tmp_path / name).metadata_props}
        assert tuple(json.loads(notes["labels"])) == NAMES  # from which the browser's page takes its bars
        assert Predictor(tmp_path / name).labels == NAMES


def test_compare(mien: Mien, run: Path, crops: Path, tmp_path: Path) -> None:
    test = load_faces(crops).select("PrivateTest")
    path = tmp_path / "answers.csv"
    lines = [f"{row},{NAMES[label].upper()}" for row, label in zip(test.row, test.emotion, strict=True)]
    path.write_text("\n".join(["row,predicted", *lines]), encoding="utf-8")
    ran = mien("compare", run, path, "--data", crops, "--json")
    rows = json.loads(ran.out)["rows"]
    assert [row["name"] for row in rows] == ["finetune", "answers"]
    assert (rows[1]["accuracy"], rows[1]["macro_f1"]) == (1, 1)
    shares = "\n".join(f"{row},1,0,0" for row in test.row)
    path.write_text(f"row,{','.join(reversed(NAMES))}\n{shares}", encoding="utf-8")
    rows = json.loads(mien("compare", path, "--data", crops, "--json").out)["rows"]
    assert rows[0]["accuracy"] == pytest.approx(1 / 3)
    path.write_text("row,predicted\n" + "\n".join(f"{row},happy" for row in test.row))
    assert "'happy' is none of the classes (big smile, calm, überrascht)" in mien("compare", path, "--data", crops).err


def test_serve(run: Path) -> None:
    image = draw_own(NAMES, 1)["calm"][0]
    with running(create_app({"own": Predictor(run, threads=1)})) as url:
        answer = httpx.post(
            f"{url}/v1/predict", content=encoded(image), params={"detector": "none"}, headers=PNG, timeout=30
        )
        models = httpx.get(f"{url}/v1/models", timeout=30).json()
    assert answer.status_code == 200
    assert list(answer.json()["images"][0]["faces"][0]["probabilities"]) == list(NAMES)
    assert models["models"][0]["labels"] == list(NAMES)


def test_video(mien: Mien, run: Path, tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), 5, (96, 96))
    for image in draw_own(NAMES, 4)["calm"]:
        writer.write(cv2.cvtColor(cv2.resize(image, (96, 96)), cv2.COLOR_GRAY2BGR))
    writer.release()
    outputs = ("--csv", tmp_path / "a.csv", "--plot", tmp_path / "a.png", "--annotate", tmp_path / "a.mp4")
    ran = mien("video", path, "--model", run, "--detector", "none", *outputs)
    assert ran.code == 0
    with (tmp_path / "a.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4
    assert all(row["emotion"] in NAMES for row in rows)
    assert all(abs(sum(float(row[name]) for name in NAMES) - 1) < 1e-4 for row in rows)


def test_data_commands(mien: Mien, crops: Path, tmp_path: Path) -> None:
    ran = mien("data", "info", crops)
    assert ran.code == 0
    assert "überrascht" in ran.out
    assert "crops: made PublicTest" in ran.err
    ran = mien("data", "split", crops, tmp_path / "split", "--validation", 0.1, "--test", 0.2, "--seed", 3)
    assert ran.code == 0, ran.err
    assert "Training 84, PublicTest 12, PrivateTest 24" in ran.out
    assert load_faces(tmp_path / "split").splits() == {"Training": 84, "PublicTest": 12, "PrivateTest": 24}
    assert load_faces(tmp_path / "split").labels == NAMES
    assert mien("data", "check", crops, "--model", "tiny").code == 0
    assert "Add --reassign" in mien("data", "split", tmp_path / "split", tmp_path / "more").err


def own_faces(classes: int, each: int = 12) -> Faces:
    names = tuple(f"class {number}" for number in range(classes))
    images = np.concatenate([np.stack(some) for some in draw_own(names, each).values()])
    n = len(images)
    faces = Faces(images, np.repeat(np.arange(classes), each), np.zeros(n, np.uint8), np.arange(n), labels=names)
    return with_splits(faces)


@pytest.mark.parametrize("classes", [2, 10])
def test_two_classes_and_ten(classes: int, tmp_path: Path) -> None:
    faces = own_faces(classes)
    bundle = train(tiny_recipe(), faces, tmp_path / "run", device="cpu").bundle
    assert bundle is not None
    assert bundle.card.labels == faces.labels
    assert len(evaluate(bundle, faces, "PrivateTest").figures["confusion"]) == classes
    assert make_report(bundle, faces).write(tmp_path / "report.html").stat().st_size > 10_000
    assert export_model(bundle, tmp_path / "int8.onnx", "onnx-int8", faces, drop=1).size > 10_000
    face = Predictor(tmp_path / "int8.onnx", detector="none").faces(faces.images[:1])[0]
    assert len(face.probabilities) == classes


def test_the_head_is_lent_too_where_the_classes_are_the_same(run: Path, crops: Path, tmp_path: Path) -> None:
    one = load_recipe("finetune", [f"start={run}", "phases.0.epochs=1", "calibrate=false"])
    one = one.model_copy(update={"phases": one.phases[:1]})
    with_head, without = load_faces(crops), own_faces(3)
    for faces, same in ((with_head, True), (without, False)):
        more = train(one, faces, tmp_path / str(same), device="cpu", seed=5)  # a fresh head of seed 0 is like the first
        assert more.bundle is not None
        before, after = load_bundle(run).weights, more.bundle.weights
        np.testing.assert_array_equal(after["features.conv_pw_3.weight"], before["features.conv_pw_3.weight"])
        likeness = np.corrcoef(after["head.weight"].ravel(), before["head.weight"].ravel())[0, 1]
        assert bool(likeness > 0.8) is same


def test_from_a_model_that_cannot_lend(mien: Mien, crops: Path, tmp_path: Path) -> None:
    place = ("--data", crops, "--out", tmp_path / "run")
    assert "no such model" in mien("train", "finetune", "--init", tmp_path / "none.mien", *place).err
    assert not (tmp_path / "run").exists()
    exported = export_model("tiny", tmp_path / "tiny.onnx").path
    assert "an exported model only runs" in mien("train", "finetune", "--init", exported, *place).err


def test_shipped_recipes_leave_out_what_only_the_emotions_have() -> None:
    from mien.training.initialization import adapt_recipe

    faces = own_faces(3, 3)
    tiny = adapt_recipe(load_recipe("tiny"), faces.labels, None)
    assert tiny.distill is None
    assert (tiny.network.classes, tiny.network.votes) == (3, False)  # type: ignore[union-attr]
    own = load_recipe("tiny", ["distill.teacher=runs/mine"])
    assert adapt_recipe(own, faces.labels, None).distill == own.distill
    wrong = load_recipe("cnn-plain", ["network.classes=4"])
    with pytest.raises(Exception, match="3 classes, but the recipe has 4"):
        train(wrong, faces, "unused")
