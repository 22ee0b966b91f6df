"""Judging a bundle: figures that an independent computation confirms, and what is refused."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from conftest import TINY, tiny_recipe
from mien.data import Faces
from mien.emotions import FERPLUS, LABELS
from mien.errors import DataError
from mien.evaluation import Evaluation, evaluate
from mien.models.bundle import Bundle, Calibration, Card
from mien.models.load import load_bundle
from mien.models.networks.build import build
from mien.models.onnx.graph import build_graph
from mien.models.preprocessing import prepare

if TYPE_CHECKING:
    from pathlib import Path

    from mien.training import Run


@pytest.fixture(scope="module")
def bundle(tiny_run: Run) -> Bundle:
    """The trained network with a warmer softmax, so that a forgotten temperature shows."""
    found = load_bundle(tiny_run.out)
    return replace(found, card=found.card.model_copy(update={"calibration": Calibration(temperature=1.7)}))


@pytest.fixture(scope="module")
def planted(drawn: Faces) -> Faces:
    """The drawn faces, where four PublicTest faces are copies of Training faces, and one of a PrivateTest face."""
    faces = drawn.take(np.arange(150))
    public, training, private = (np.flatnonzero(faces.usage == usage) for usage in (1, 0, 2))
    faces.images[public[:4]] = faces.images[training[[0, 5, 5, 9]]]
    faces.images[public[4]] = faces.images[private[0]]
    return faces


def by_torch(bundle: Bundle, faces: Faces) -> NDArray[np.float64]:
    """The same probabilities from torch's own network, in float64."""
    network = build(bundle.card.network).eval()
    state = {name: torch.from_numpy(np.array(array)) for name, array in bundle.weights.items()}
    missing, unexpected = network.load_state_dict(state, strict=False)
    assert unexpected == []
    assert all(name.endswith("num_batches_tracked") for name in missing)
    with torch.no_grad():
        logits = network.double()(torch.from_numpy(prepare(faces.images, bundle.card.preprocessing)).double())
        return torch.softmax(logits / bundle.card.calibration.temperature, 1).numpy()  # type: ignore[no-any-return]


@pytest.mark.parametrize("split", ["PublicTest", "PrivateTest", "Training", "test"])
def test_every_figure_is_what_torch_and_a_loop_give(bundle: Bundle, planted: Faces, split: str) -> None:
    found = evaluate(bundle, planted, split)
    faces = planted.select(split)
    expected = by_torch(bundle, faces)
    assert np.abs(found.probabilities - expected).max() < 1e-5
    said = [int(row.argmax()) for row in expected]
    figures = found.to_dict()
    count = [[0] * 7 for _ in range(7)]
    for true, answer in zip(faces.emotion, said, strict=True):
        count[true][answer] += 1
    assert figures["confusion"] == count
    assert figures["n"] == len(faces) == sum(map(sum, count))
    assert figures["accuracy"] == found.accuracy == sum(count[k][k] for k in range(7)) / len(faces)
    loss = -sum(np.log(row[true]) for row, true in zip(expected, faces.emotion, strict=True)) / len(faces)
    assert figures["nll"] == pytest.approx(loss, abs=1e-4)
    f1s = []
    for k, name in enumerate(LABELS):
        row, column = sum(count[k]), sum(line[k] for line in count)
        one = figures["per_class"][name]
        assert one["support"] == row
        assert one["recall"] == pytest.approx(count[k][k] / row if row else 0)
        assert one["precision"] == pytest.approx(count[k][k] / column if column else 0)
        assert one["f1"] == pytest.approx(2 * count[k][k] / (row + column) if row + column else 0)
        f1s += [one["f1"]] if row + column else []
    assert figures["macro_f1"] == pytest.approx(sum(f1s) / len(f1s))
    assert 0 <= figures["ece"] <= 1


def test_agreement_with_the_crowd_by_hand(bundle: Bundle, planted: Faces) -> None:
    """The first five faces are clear, the rest are split."""
    faces = planted.select("PublicTest")
    said = evaluate(bundle, planted, "PublicTest").predicted
    columns = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
    votes = np.full((len(planted), 10), 1, np.uint8)
    for place, row in enumerate(np.flatnonzero(planted.usage == 1)[:5]):
        seen = said[place] if place < 3 else (said[place] + 1) % 7
        votes[row] = 0
        votes[row, FERPLUS.index(columns[seen])] = 6
        votes[row, FERPLUS.index("unknown")] = 4
    found = evaluate(bundle, replace(planted, votes=votes), "PublicTest").figures["ferplus"]
    assert (found["n"], found["agreement"]) == (5, 0.6)
    clear = [(said[place] if place < 3 else (said[place] + 1) % 7, said[place]) for place in range(5)]
    recalls = [np.mean([p == one for t, p in clear if t == one]) for one in {t for t, _ in clear}]
    assert found["balanced"] == pytest.approx(np.mean(recalls))
    assert 0 <= found["ece"] <= 1
    assert evaluate(bundle, faces, "PublicTest").figures["ferplus"] is None
    none = evaluate(bundle, replace(planted, votes=votes * 0), "PublicTest").figures["ferplus"]
    assert (none["n"], none["agreement"], none["balanced"], none["ece"]) == (0, None, None, None)


def test_the_contract_of_the_json(bundle: Bundle, planted: Faces) -> None:
    figures = json.loads(json.dumps(evaluate(bundle, planted, "PublicTest").to_dict(), allow_nan=False))
    assert set(figures) == {
        "model", "data", "split", "views", "n", "accuracy", "macro_f1", "nll", "ece", "clean", "per_class",
        "confusion", "ferplus", "heads", "output", "seconds",
    }  # fmt: skip
    assert figures["model"] == {
        "name": "short",
        "sha256": bundle.sha256,
        "parameters": sum(array.size for array in bundle.weights.values()),
    }
    assert (figures["output"], figures["heads"]) == ("its only head", {})
    assert figures["data"] == {"name": "drawn faces", "fingerprint": planted.fingerprint}
    assert (figures["split"], figures["views"], figures["n"]) == ("PublicTest", 1, 15)
    assert set(figures["clean"]) == {"n", "accuracy"}
    assert list(figures["per_class"]) == list(LABELS)
    assert all(set(one) == {"precision", "recall", "f1", "support"} for one in figures["per_class"].values())
    assert np.shape(figures["confusion"]) == (7, 7)
    assert figures["seconds"] >= 0


def test_the_clean_figure_leaves_out_what_is_also_in_training(bundle: Bundle, planted: Faces) -> None:
    found = evaluate(bundle, planted, "PublicTest")
    right = found.predicted == planted.select("PublicTest").emotion
    assert found.figures["clean"] == {"n": 11, "accuracy": right[4:].mean()}
    assert evaluate(bundle, planted, "PrivateTest").figures["clean"]["n"] == 15
    assert evaluate(bundle, planted, "test").figures["clean"]["n"] == 26


def test_without_training_faces_there_is_no_clean_figure(bundle: Bundle, planted: Faces) -> None:
    assert evaluate(bundle, planted, "Training").figures["clean"] is None
    assert evaluate(bundle, planted.select("PublicTest"), "PublicTest").figures["clean"] is None


def test_where_all_leak_the_clean_figure_is_of_none(bundle: Bundle, planted: Faces) -> None:
    public = np.flatnonzero(planted.usage == 1)[:4]
    faces = planted.take(np.concatenate([np.flatnonzero(planted.usage == 0), public]))
    assert evaluate(bundle, faces, "PublicTest").figures["clean"] == {"n": 0, "accuracy": None}


def test_a_file_a_folder_and_a_bundle_are_judged_alike(tiny_run: Run, drawn: Faces, drawn_csv: Path) -> None:
    whole = evaluate(tiny_run.out, drawn_csv, "PrivateTest")
    assert tiny_run.bundle is not None
    other = evaluate(str(tiny_run.bundle.path), drawn, "PrivateTest")
    assert np.array_equal(whole.probabilities, other.probabilities)
    assert whole.data["fingerprint"] == other.data["fingerprint"]


def test_faces_that_do_not_fit_are_refused(bundle: Bundle, drawn: Faces) -> None:
    other = replace(drawn, labels=tuple(reversed(LABELS)))
    with pytest.raises(DataError, match="its classes are not the model's"):
        evaluate(bundle, other)
    unlabelled = replace(drawn, emotion=np.where(np.arange(150) % 20 == 8, -1, drawn.emotion))
    with pytest.raises(DataError, match=r"8 faces have no label to compare with.*mien predict"):
        evaluate(bundle, unlabelled, "PublicTest")
    assert evaluate(bundle, unlabelled, "PrivateTest").figures["n"] == 15
    with pytest.raises(DataError, match="no split 'Public'"):
        evaluate(bundle, drawn, "Public")


def test_what_is_written(bundle: Bundle, planted: Faces, tmp_path: Path) -> None:
    found: Evaluation = evaluate(bundle, planted, "PrivateTest")
    paths = found.write(tmp_path / "out")
    assert [path.name for path in paths] == [
        f"PrivateTest-{name}"
        for name in ("metrics.json", "predictions.csv", "confusion.png", "classes.png", "labels.png")
    ]
    assert json.loads(paths[0].read_text()) == found.to_dict()
    with paths[1].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 15
    assert [row["predicted"] for row in rows] == [LABELS[k] for k in found.predicted]
    assert sum(row["wrong"] == "0" for row in rows) == round(found.accuracy * 15)
    for path in paths[2:]:
        assert path.read_bytes().startswith(b"\x89PNG")


def test_a_model_of_other_classes_is_not_compared(drawn: Faces) -> None:
    recipe: Any = tiny_recipe(network={**TINY["network"], "classes": 3})
    network = build(recipe.network)
    weights = {name: t.contiguous().numpy() for name, t in network.state_dict().items() if t.is_floating_point()}
    card = Card(name="three", network=recipe.network, labels=("a", "b", "c"))
    with pytest.raises(DataError, match=r"not the model's \(a, b, c\)"):
        evaluate(Bundle(card, weights, build_graph(recipe.network, weights)), drawn)
