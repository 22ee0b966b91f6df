"""Numbers as labels: the assumed order is noted, and the orders of other data sets can be selected."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mien.data import Faces, load_faces
from mien.emotions import LABELS, LabelOrder, number_of
from mien.errors import BadRowError, DataError

if TYPE_CHECKING:
    from conftest import Ran

ORDERS = {
    LabelOrder.FER2013: ["Angry", "Disgust", "Fear", "Happy", "Sad", "Surprise", "Neutral"],
    LabelOrder.AFFECTNET: ["Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Angry", "contempt"],
    LabelOrder.AFFECTNET_8: ["Neutral", "Happy", "Sad", "Surprise", "Fear", "Disgust", "Angry", "Contempt"],
    LabelOrder.RAF_DB: [None, "Surprise", "Fear", "Disgust", "Happy", "Sad", "Angry", "Neutral"],
}
"""As the data sets' own documents number them."""


def numbered(root: Path, names: Sequence[object], faces: Faces) -> Path:
    for i, name in enumerate(names):
        (root / str(name)).mkdir(parents=True)
        for split, image in enumerate(faces.images[3 * i : 3 * i + 3]):
            Image.fromarray(image).save(root / str(name) / f"{split}.png")
    return root


def labels_of(faces: Faces, images: np.ndarray[Any, Any]) -> list[str]:
    """The label of each image, by its pixels."""
    keys = {image.tobytes(): faces.labels[label] for image, label in zip(faces.images, faces.emotion, strict=True)}
    return [keys[image.tobytes()] for image in images if image.tobytes() in keys]


@pytest.mark.parametrize("order", list(LabelOrder))
def test_folders_of_numbers_are_read_in_the_order_that_was_named(
    tmp_path: Path, some_faces: Faces, order: LabelOrder
) -> None:
    names = [number for number, name in enumerate(ORDERS[order]) if name]
    faces = load_faces(numbered(tmp_path, names, some_faces), label_order=order)
    expected = [name for name in ORDERS[order] if name and name != "contempt"]
    assert labels_of(faces, some_faces.images[: 3 * len(names) : 3]) == expected
    assert any(f"in the order {order}" in note for note in faces.notes)
    assert any("left out 3 faces of contempt" in note for note in faces.notes) == (order == "affectnet")


def test_without_an_order_fer2013s_is_taken_with_a_note(tmp_path: Path, some_faces: Faces) -> None:
    """AffectNet's 0 is neutral: such folders used to be read as FER2013's without a note."""
    faces = load_faces(numbered(tmp_path, range(7), some_faces))
    assert labels_of(faces, some_faces.images[:21:3]) == list(LABELS)
    (note,) = [note for note in faces.notes if "order" in note]
    for word in ("FER2013's order", "0 Angry", "AffectNet", "RAF-DB", "--label-order"):
        assert word in note


def test_raf_dbs_seven_leads_to_the_order_and_not_to_skip_bad(tmp_path: Path, some_faces: Faces) -> None:
    numbered(tmp_path, range(1, 8), some_faces)
    for skip_bad in (False, True):
        with pytest.raises(DataError, match="--label-order raf-db") as caught:
            load_faces(tmp_path, skip_bad=skip_bad)
        assert "--skip-bad" not in str(caught.value)


def test_words_mean_the_same_in_every_order(tmp_path: Path, some_faces: Faces) -> None:
    numbered(tmp_path, LABELS, some_faces)
    for order in (None, "affectnet", "raf-db"):
        faces = load_faces(tmp_path, label_order=order)
        assert labels_of(faces, some_faces.images[:21:3]) == list(LABELS)
        assert not any("order" in note for note in faces.notes)


def test_an_order_that_does_not_exist(tmp_path: Path, some_faces: Faces) -> None:
    with pytest.raises(DataError, match=r"no label order 'ferplus'. Choose one of fer2013, affectnet"):
        load_faces(numbered(tmp_path, LABELS, some_faces), label_order="ferplus")


def write_pixels(path: Path, faces: Faces, labels: Sequence[str], delimiter: str = ",", end: str = "\n") -> Path:
    rows = [
        f"{label}{delimiter}{' '.join(map(str, image.ravel()))}"
        for label, image in zip(labels, faces.images, strict=False)
    ]
    path.write_bytes(end.join([f"emotion{delimiter}pixels", *rows, ""]).encode())
    return path


@settings(max_examples=40)
@given(
    st.sampled_from([",", ";", "\t"]), st.sampled_from(["\n", "\r\n", "\r"]), st.sampled_from(["{}", "{}.0", " {} "])
)
def test_tables_of_any_separator_line_end_and_number(
    tmp_path_factory: pytest.TempPathFactory, some_faces: Faces, delimiter: str, end: str, form: str
) -> None:
    path = tmp_path_factory.mktemp("table") / "x.csv"
    write_pixels(path, some_faces, [form.format(label) for label in range(7)], delimiter, end)
    faces = load_faces(path, cache=False)
    assert faces.emotion.tolist() == list(range(7))
    np.testing.assert_array_equal(faces.images, some_faces.images[:7])


@given(st.integers(-1, 99), st.sampled_from(["{}", " {}", "{}.0", "{}.", "{}.00 "]))
def test_numbers_are_read_however_they_are_written(number: int, form: str) -> None:
    assert number_of(form.format(number)) == number


@given(st.text(max_size=8))
def test_what_is_no_number_is_none(text: str) -> None:
    number = number_of(text)
    assert number is None or float(text) == number


def test_floats_of_pandas_in_parquet(tmp_path: Path, some_faces: Faces) -> None:
    path = tmp_path / "x.png"
    images = []
    for image in some_faces.images[:3]:
        Image.fromarray(image).save(path)
        images.append(path.read_bytes())
    pq.write_table(pa.table({"image": images, "label": [0.0, 3.0, 6.0]}), tmp_path / "x.parquet")
    faces = load_faces(tmp_path / "x.parquet")
    assert faces.emotion.tolist() == [0, 3, 6]
    assert any("FER2013's order" in note for note in faces.notes)


def listed(
    folder: Path, faces: Faces, rows: Sequence[Sequence[str]], header: Sequence[str], delimiter: str = ","
) -> Path:
    for number in range(len(rows)):
        path = folder / "images" / f"{number}, ü.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(faces.images[number]).save(path)
    with (folder / "list.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, delimiter=delimiter)
        table.writerows([header, *([f"images/{number}, ü.png", *row] for number, row in enumerate(rows))])
    return folder / "list.csv"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("column", ["path", "image", "file", "filename"])
def test_a_table_of_paths_and_labels(tmp_path: Path, some_faces: Faces, column: str, delimiter: str) -> None:
    rows = [["happy", "train"], ["Sad", "test"], ["3", "train"], ["3.0", "train"]]
    path = listed(tmp_path, some_faces, rows, [column, "label", "split"], delimiter)
    faces = load_faces(path)
    np.testing.assert_array_equal(faces.images, some_faces.images[:4])
    assert faces.emotion.tolist() == [3, 4, 3, 3]
    assert any("FER2013's order" in note for note in faces.notes)
    assert load_faces(path, label_order="raf-db").emotion.tolist() == [3, 4, 1, 1]


def test_a_table_of_classes_of_ones_own(tmp_path: Path, some_faces: Faces) -> None:
    faces = load_faces(listed(tmp_path, some_faces, [["awake"], ["asleep"]] * 8, ["path", "label"]))
    assert faces.labels == ("asleep", "awake")
    assert set(faces.splits()) > {"Training"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("images/gone.png,3", "there is no such file: images/gone.png"),
        (",3", r"there is no such file: \(no name\)"),
        ("a.png,3,4", "it has 3 fields, the header 2"),
    ],
)
def test_bad_rows_of_a_list_are_reported_by_line(tmp_path: Path, some_faces: Faces, line: str, reason: str) -> None:
    path = listed(tmp_path, some_faces, [["3"], ["4"]], ["path", "label"])
    path.write_text(path.read_text(encoding="utf-8") + line + "\n", encoding="utf-8")
    with pytest.raises(BadRowError, match=rf"line 4\): {reason}"):
        load_faces(path)
    faces = load_faces(path, skip_bad=True)
    assert (len(faces), len(faces.skipped)) == (2, 1)


def test_fer2013s_own_table_has_no_note(tmp_path: Path, some_faces: Faces) -> None:
    path = tmp_path / "fer2013.csv"
    rows = [
        f"{label},{' '.join(map(str, image.ravel()))},Training" for label, image in enumerate(some_faces.images[:7])
    ]
    path.write_text("\n".join(["emotion,pixels,Usage", *rows]))
    assert load_faces(path, make_splits=False).notes == ()


def test_commands_say_it_and_take_the_option(mien: Callable[..., Ran], tmp_path: Path, some_faces: Faces) -> None:
    numbered(tmp_path / "raf", range(1, 8), some_faces)
    ran = mien("data", "info", str(tmp_path / "raf"), "--json")
    assert (ran.code, "--label-order raf-db" in ran.err) == (2, True)
    ran = mien("data", "info", str(tmp_path / "raf"), "--label-order", "raf-db", "--json")
    assert (ran.code, "in the order raf-db: 1 Surprise" in ran.err) == (0, True)
    assert any("raf-db" in note for note in json.loads(ran.out)["notes"])
    out = tmp_path / "shards"
    ran = mien("data", "convert", str(tmp_path / "raf"), str(out), "--to", "shards", "--label-order", "raf-db")
    assert (ran.code, "in the order raf-db" in ran.err) == (0, True), ran.err
