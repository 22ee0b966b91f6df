"""Sides beside each other: figures by hand, and what a peer's command may do wrong."""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mien.data import Faces
from mien.emotions import FERPLUS, FERPLUS_OF_EMOTION, LABELS
from mien.errors import DataError, ModelError
from mien.evaluation import evaluate
from mien.evaluation.compare import compare
from mien.evaluation.external import Peer
from mien.evaluation.predictions import predictions_csv

if TYPE_CHECKING:
    from mien.training import Run


def answers(path: Path, faces: Faces, said: object) -> Path:
    lines = [f"{row},{one}" for row, one in zip(faces.row, said, strict=True)]  # type: ignore[call-overload]
    path.write_text("\n".join(["row,emotion", *lines]))
    return path


def program(folder: Path, text: str) -> str:
    """A command that runs this Python text."""
    path = folder / "peer.py"
    path.write_text(text)
    return shlex.join([sys.executable, str(path)])


@pytest.fixture
def leaky(some_faces: Faces) -> Faces:
    """Four of the 14 PublicTest faces stand in Training; on the first five all voters see the label."""
    images, votes = some_faces.images.copy(), np.ones((42, 10), np.uint8)
    images[14:18] = images[:4]
    seen = np.array(FERPLUS_OF_EMOTION)[some_faces.emotion[14:19]]
    votes[14:19] = 10 * np.eye(10, dtype=np.uint8)[seen]
    assert FERPLUS[seen[0]] == "anger"
    return replace(some_faces, images=images, votes=votes)


def test_every_figure_by_hand(leaky: Faces, tmp_path: Path) -> None:
    """The first knows all but the four that leak; the second only these and one more."""
    faces = leaky.select("PublicTest")
    wrong = (faces.emotion + 1) % 7
    first = answers(tmp_path / "one.csv", faces, np.where(np.arange(14) < 4, wrong, faces.emotion))
    second = answers(tmp_path / "two.csv", faces, np.where(np.arange(14) < 5, faces.emotion, wrong))
    found = compare([first, second], leaky, "PublicTest")
    assert (found.n, found.clean) == (14, 10)
    one, two = found.rows
    assert (one["accuracy"], one["clean"]) == (10 / 14, {"n": 10, "accuracy": 1.0})
    assert (two["accuracy"], two["clean"]) == (5 / 14, {"n": 10, "accuracy": 0.1})
    assert one["ferplus"] == {"n": 5, "agreement": 0.2, "balanced": 0.2}
    assert two["ferplus"] == {"n": 5, "agreement": 1.0, "balanced": 1.0}
    assert one["against_first"] is None
    against = two["against_first"]
    assert against["difference"] == pytest.approx(-5 / 14)
    assert against["mcnemar"] == {"both": 1, "first": 9, "second": 4, "neither": 0, "p": 2186 / 2**13}
    low, high = against["interval"]
    assert low < against["difference"] < high
    assert against["clean"]["difference"] == -0.9
    assert against["clean"]["mcnemar"] == {"both": 1, "first": 9, "second": 0, "neither": 0, "p": 2**-8}


def test_macro_f1_by_hand(leaky: Faces, tmp_path: Path) -> None:
    faces = leaky.select("PublicTest")
    all_angry = answers(tmp_path / "angry.csv", faces, ["angry"] * 14)
    [row] = compare([all_angry], leaky, "PublicTest").rows
    assert row["macro_f1"] == pytest.approx(2 * 2 / (14 + 2) / 7)


def test_a_model_has_the_figures_of_evaluate(tiny_run: Run, drawn: Faces, tmp_path: Path) -> None:
    evaluated = evaluate(tiny_run.out, drawn, "PrivateTest")
    predictions_csv(tmp_path / "written.csv", evaluated.faces, evaluated.probabilities)
    found = compare([tiny_run.out, tmp_path / "written.csv"], drawn)
    assert [row["name"] for row in found.rows] == ["short", "written"]
    for row in found.rows:
        for key in ("n", "accuracy", "clean", "macro_f1", "ferplus"):
            assert row[key] == evaluated.figures[key]
    assert found.rows[0]["source"]["sha256"] == evaluated.bundle.sha256
    same = found.rows[1]["against_first"]
    assert (same["difference"], same["interval"], same["mcnemar"]["p"]) == (0, (0, 0), 1)
    assert found.data["fingerprint"] == drawn.fingerprint
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_second_of_a_name_is_told_apart(leaky: Faces, tmp_path: Path) -> None:
    path = answers(tmp_path / "a.csv", leaky.select("PublicTest"), [3] * 14)
    assert [row["name"] for row in compare([path, path, path], leaky, "PublicTest").rows] == ["a", "a (2)", "a (3)"]


def test_a_peer_gets_faces_and_rows_without_labels(leaky: Faces, tmp_path: Path) -> None:
    command = program(
        tmp_path,
        "import json, sys\n"
        "import numpy as np\n"
        "arrays = np.load(sys.argv[1])\n"
        "assert sorted(arrays) == ['images', 'row'] and len(sys.argv) == 3\n"
        "with open(sys.argv[2], 'w') as file:\n"
        "    for image, row in zip(arrays['images'], arrays['row']):\n"
        "        file.write(json.dumps({'row': int(row), 'emotion': int(image.sum()) % 7}) + '\\n')\n"
        "print('peer 1.2\\n')\n",
    )
    faces = leaky.select("PublicTest")
    [row] = compare([Peer("sum", command)], leaky, "PublicTest").rows
    sums = faces.images.reshape(14, -1).sum(1, dtype=np.int64) % 7
    assert row["accuracy"] == np.mean(sums == faces.emotion)
    assert (row["name"], row["source"]["says"], row["source"]["command"]) == ("sum", "peer 1.2", command)
    assert row["source"]["seconds"] > 0


@pytest.mark.parametrize(
    ("text", "error", "fault"),
    [
        ("import sys; sys.exit('no weights here')", ModelError, "ended with exit code 1: no weights here"),
        ("import os; os._exit(3)", ModelError, "ended with exit code 3: it printed nothing"),
        ("pass", ModelError, "its command succeeded but wrote no predictions"),
        (
            "import sys; open(sys.argv[2], 'w').write('row,emotion\\n14,3\\n')",
            DataError,
            "13 of 14 faces have no prediction",
        ),
    ],
)
def test_what_a_peer_may_do_wrong(leaky: Faces, tmp_path: Path, text: str, error: type[Exception], fault: str) -> None:
    with pytest.raises(error) as caught:
        compare([Peer("bad", program(tmp_path, text))], leaky, "PublicTest")
    assert fault in str(caught.value)


@pytest.mark.parametrize("command", ["/no/such/program --x", 'python "unclosed', "/"])
def test_a_command_that_cannot_start(leaky: Faces, command: str) -> None:
    with pytest.raises(ModelError, match="peer bad: its command cannot be run"):
        compare([Peer("bad", command)], leaky, "PublicTest")


def test_a_peer_is_a_name_and_a_command() -> None:
    assert Peer.parse("fer=python x.py --a=b") == Peer("fer", "python x.py --a=b")
    for text in ("fer", "=python", "fer= "):
        with pytest.raises(ModelError, match="is not NAME=COMMAND"):
            Peer.parse(text)


def test_what_cannot_be_compared(leaky: Faces, tmp_path: Path) -> None:
    path = answers(tmp_path / "a.csv", leaky.select("PublicTest"), [3] * 14)
    with pytest.raises(DataError, match="nothing to compare"):
        compare([], leaky)
    with pytest.raises(DataError, match="its classes are not the model's"):
        compare(["tiny"], replace(leaky, labels=(*LABELS[:6], "Calm")), "PublicTest")
    with pytest.raises(DataError, match="faces have no label"):
        compare([path], replace(leaky, emotion=np.full(42, -1)), "PublicTest")


def test_without_training_faces_and_votes_those_figures_are_left_out(leaky: Faces, tmp_path: Path) -> None:
    faces = replace(leaky.select("PublicTest"), votes=None)
    path = answers(tmp_path / "a.csv", faces, [3] * 14)
    found = compare([path, path], faces, "PublicTest")
    assert (found.clean, found.rows[0]["clean"], found.rows[0]["ferplus"]) == (None, None, None)
    assert found.rows[1]["against_first"]["clean"] is None
