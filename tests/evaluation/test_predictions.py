"""Files of answers: what is read, and that nothing else is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mien.data import Faces
from mien.emotions import LABELS, Emotion
from mien.errors import BadRowError, DataError
from mien.evaluation.predictions import predictions_csv, read_predictions

SHARES = np.full((14, 7), 0.05)
SHARES[np.arange(14), np.arange(14)[::-1] % 7] = 0.7
SAID = SHARES.argmax(1)


@pytest.fixture(scope="module")
def split(some_faces: Faces) -> Faces:
    """14 faces, rows 14 to 27."""
    return some_faces.select("PublicTest")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "answers.csv"


def rows(split: Faces, header: str = "row,emotion") -> list[str]:
    return [header, *(f"{row},{LABELS[said]}" for row, said in zip(split.row, SAID, strict=True))]


def shares_row(row: int, shares: object) -> str:
    return json.dumps({"row": int(row), "probabilities": shares})


def test_words_numbers_and_any_order(split: Faces, path: Path) -> None:
    words = {0: "anger", 1: "1", 2: "FEARFUL", 3: " happiness", 4: "4", 5: "surprised", 6: "neutral"}
    lines = [f"{row}, {words[int(said)]},x" for row, said in zip(split.row, SAID, strict=True)]
    path.write_text("\ufeff" + "\r\n".join(["Row ,Emotion,note", *lines[::-1], ""]), encoding="utf-8")
    assert read_predictions(path, split).tolist() == SAID.tolist()


def test_what_mien_evaluate_writes_is_read(split: Faces, path: Path) -> None:
    predictions_csv(path, split, SHARES)
    assert read_predictions(path, split).tolist() == SAID.tolist()


def test_beside_predicted_the_column_emotion_is_the_label(split: Faces, path: Path) -> None:
    lines = [f"{row},{LABELS[(said + 1) % 7]},{said}" for row, said in zip(split.row, SAID, strict=True)]
    path.write_text("\n".join(["row,emotion,predicted", *lines]))
    assert read_predictions(path, split).tolist() == SAID.tolist()


def test_seven_probabilities_in_a_table_of_another_order(split: Faces, path: Path) -> None:
    names = ["happy", "neutral", "sad", "fear", "disgust", "angry", "surprise"]
    order = [Emotion.from_word(name) for name in names]
    lines = [",".join(map(str, [row, *shares[order]])) for row, shares in zip(split.row, SHARES, strict=True)]
    path.write_text("\n".join(["row," + ",".join(names), *lines]))
    assert read_predictions(path, split).tolist() == SAID.tolist()


def test_lines_of_json(split: Faces, tmp_path: Path) -> None:
    path = tmp_path / "answers.jsonl"
    lines = [json.dumps({"row": int(row), "emotion": int(said)}) for row, said in zip(split.row, SAID, strict=True)]
    lines[0] = shares_row(split.row[0], dict(zip(LABELS, SHARES[0], strict=True)))
    path.write_text("\n\n".join(lines) + "\n")
    assert read_predictions(path, split).tolist() == SAID.tolist()


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda lines: lines[:-1], "1 of 14 faces have no prediction; the first is row 27"),
        (lambda lines: lines[:1], "14 of 14 faces have no prediction; the first is row 14"),
        (lambda lines: [*lines, lines[3]], "line 16: row 16 has its prediction on line 4 already"),
        (lambda lines: [*lines, "3,Happy"], "line 16: row 3 is no face of the split"),
        (lambda lines: [*lines[:2], "15,joyful?", *lines[3:]], "line 3: 'joyful?' is none of the seven emotions"),
        (lambda lines: [*lines[:2], "15,", *lines[3:]], "line 3: '' is none of the seven emotions"),
        (lambda lines: [*lines[:2], "15,7", *lines[3:]], "line 3: '7' is none of the seven emotions"),
        (lambda lines: [*lines[:2], "-1,Happy", *lines[3:]], "line 3: its row is '-1', not a whole number from 0"),
        (lambda lines: [*lines[:2], "15", *lines[3:]], "line 3: it has 1 fields, the header 2"),
        (lambda lines: [*lines[:2], '15,"Happy', *lines[3:]], "it is not a row of a table"),
        (lambda lines: ["face,emotion", *lines[1:]], "its header must have the column row, and none twice"),
        (lambda lines: ["row,row", *lines[1:]], "its header must have the column row, and none twice"),
        (lambda lines: ["row,answer", *lines[1:]], "line 2: it has no emotion, and no probability of Angry"),
        (lambda lines: [], "its header must have the column row, and none twice; it has nothing"),
        (lambda lines: ['{"row": 14, "emotion": "happy"', *lines], "line 1: it is not JSON"),
        (lambda lines: ['{"row": 14, "emotion": null}'], "line 1: 'None' is none of the seven emotions"),
        (lambda lines: ['{"row": 14, "probabilities": [1]}'], "line 1: it is not an object with row and emotion"),
        (lambda lines: [*["{}"], "3"], "line 1: its row is ''"),
    ],
)
def test_what_is_refused_and_where(split: Faces, path: Path, change, fault: str) -> None:  # type: ignore[no-untyped-def]
    path.write_text("\n".join(change(rows(split))))
    with pytest.raises(DataError) as caught:
        read_predictions(path, split)
    assert str(caught.value).startswith(f"{path}: ")
    assert fault in str(caught.value)


@pytest.mark.parametrize(
    ("shares", "fault"),
    [
        ({"happy": 1.0}, "no probability of Angry, Disgust, Fear, Sad, Surprise, Neutral"),
        (dict.fromkeys(LABELS, 0.2), "its probabilities sum to 1.4, not to 1"),
        (dict(zip(LABELS, (2, -1, 0, 0, 0, 0, 0), strict=True)), "the probability of Angry is '2'"),
        (dict(zip(LABELS, (float("nan"), 1, 0, 0, 0, 0, 0), strict=True)), "the probability of Angry is 'nan'"),
        (dict(zip(LABELS, (True, 0, 0, 0, 0, 0, 0), strict=True)), "the probability of Angry is 'True'"),
        (dict(zip(LABELS, (10**400, 0, 0, 0, 0, 0, 0), strict=True)), "the probability of Angry is '1000"),
        (dict(zip(LABELS, ([], 0, 0, 0, 0, 0, 0), strict=True)), "the probability of Angry is '[]'"),
        ({**dict.fromkeys(LABELS, 0.1), "joy": 0.4}, "it has two probabilities for Happy"),
    ],
)
def test_probabilities_that_are_none_are_refused(split: Faces, path: Path, shares: object, fault: str) -> None:
    path.write_text(shares_row(14, shares))
    with pytest.raises(BadRowError, match="line 1: ") as caught:
        read_predictions(path, split)
    assert fault in str(caught.value)


def test_a_missing_file_and_bytes_that_are_no_text(split: Faces, path: Path) -> None:
    with pytest.raises(DataError, match="it cannot be read"):
        read_predictions(path, split)
    path.write_bytes(b"row,emotion\n14,\xff\xfe")
    with pytest.raises(DataError, match="it is not text in UTF-8"):
        read_predictions(path, split)


def test_faces_that_answers_cannot_name(split: Faces, path: Path) -> None:
    path.write_text("\n".join(rows(split)))
    doubled = split.take(np.array([0, 0, 1]))
    with pytest.raises(DataError, match="several faces have the same row"):
        read_predictions(path, doubled)


CELL = st.sampled_from(["row", "emotion", "14", "15", "happy", "0.5", '"', ",", "\n", "{", "}", '"row"', ": ", "nan"])


@given(text=st.one_of(st.text(), st.lists(CELL).map("".join), st.lists(CELL).map(",".join)))
def test_any_text_is_read_or_refused(split: Faces, tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """Nothing but an error of mien comes out, and never an answer for a face that has none."""
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(DataError):
        read_predictions(path, split)
