"""Parquet: our own layout and Hugging Face's."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mien.data import Faces, load_faces
from mien.data.readers.parquet import class_names
from mien.data.writers import convert_faces
from mien.errors import BadRowError, DataError

ALPHABETICAL = ["angry", "disgust", "fear", "happy", "neutral", "sad", "surprise"]


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def write_shard(path: Path, faces: Faces, labels: list[object], names: list[str] | None = None) -> None:
    images = [{"bytes": png(image), "path": f"{i}.png"} for i, image in enumerate(faces.images)]
    table = pa.table({"image": images, "label": labels})
    if names:
        features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path)


@pytest.fixture
def nine(some_faces: Faces) -> Faces:
    return some_faces.take(np.arange(9))


def test_class_names_of_the_metadata_win_over_numbers(tmp_path: Path, nine: Faces) -> None:
    """Label 4 of an alphabetical ClassLabel is neutral, which FER2013 calls 6."""
    words = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    labels: list[object] = [ALPHABETICAL.index(words[e]) for e in nine.emotion]
    write_shard(tmp_path / "train-00000-of-00001.parquet", nine, labels, ALPHABETICAL)
    np.testing.assert_array_equal(load_faces(tmp_path).emotion, nine.emotion)


@pytest.mark.parametrize("kind", [int, str])
def test_without_names_labels_are_numbers_or_words(tmp_path: Path, nine: Faces, kind: type) -> None:
    write_shard(tmp_path / "train.parquet", nine, [kind(e) for e in nine.emotion])
    faces = load_faces(tmp_path / "train.parquet")
    np.testing.assert_array_equal(faces.emotion, nine.emotion)
    np.testing.assert_array_equal(faces.images, nine.images)


def test_shards_give_their_splits_in_order(tmp_path: Path, nine: Faces) -> None:
    parts = {"train-00000-of-00002": [0, 1], "train-00001-of-00002": [2], "validation-0-of-1": [3], "test-0-of-1": [4]}
    for name, rows in parts.items():
        part = nine.take(np.array(rows))
        write_shard(tmp_path / "data" / f"{name}.parquet", part, part.emotion.tolist())
    faces = load_faces(tmp_path)
    np.testing.assert_array_equal(faces.images, nine.images[:5])
    assert faces.splits() == {"Training": 3, "PublicTest": 1, "PrivateTest": 1}
    assert faces.row.tolist() == [0, 1, 2, 3, 4]


def test_the_split_may_stand_in_the_folders_name(tmp_path: Path, nine: Faces) -> None:
    write_shard(tmp_path / "default" / "test" / "0000.parquet", nine, nine.emotion.tolist())
    assert load_faces(tmp_path).splits() == {"test": 9}


def test_a_bad_row_is_reported_and_can_be_skipped_with_its_votes(tmp_path: Path, some_faces: Faces) -> None:
    path = convert_faces(some_faces, tmp_path / "x.parquet", "parquet")
    table = pq.read_table(path)
    images = table["image"].to_pylist()
    images[5] = images[5][:20]
    pq.write_table(table.set_column(0, "image", pa.array(images)), path)
    with pytest.raises(BadRowError, match=r"x\.parquet: data row 6: it is not a readable image"):
        load_faces(path)
    good = np.array([i for i in range(42) if i != 5])
    faces = load_faces(path, skip_bad=True)
    assert faces.fingerprint == some_faces.take(good).fingerprint
    assert some_faces.votes is not None
    np.testing.assert_array_equal(faces.votes, some_faces.votes[good])


def test_a_missing_label_is_allowed_in_a_test_split_only(tmp_path: Path, nine: Faces) -> None:
    write_shard(tmp_path / "test.parquet", nine, [None, -1, *nine.emotion[2:].tolist()])
    assert load_faces(tmp_path / "test.parquet").emotion[:3].tolist() == [-1, -1, 2]
    write_shard(tmp_path / "train.parquet", nine, [None, *nine.emotion[1:].tolist()])
    with pytest.raises(BadRowError, match="data row 1: a Training row has no label"):
        load_faces(tmp_path / "train.parquet")


def test_an_image_column_of_numbers_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [1, 2], "label": [0, 1]}), tmp_path / "x.parquet")
    with pytest.raises(DataError, match="encoded bytes"):
        load_faces(tmp_path / "x.parquet")


@pytest.mark.parametrize("text", [b"", b"{}", b"[]", b"not json", b'{"info": {"features": {"label": null}}}'])
def test_metadata_without_names_is_no_error(text: bytes) -> None:
    assert class_names({b"huggingface": text}, "label") is None


def test_what_was_read_of_a_file_is_let_go_before_its_end(tmp_path: Path, some_faces: Faces) -> None:
    blobs = [png(image) for image in some_faces.images] * 240
    table = pa.table({"image": blobs, "label": [0] * len(blobs)})
    path, held = tmp_path / "train.parquet", []
    pq.write_table(table, path, row_group_size=1024, use_dictionary=False, compression="none")
    del table
    before = pa.total_allocated_bytes()
    faces = load_faces(path, progress=lambda *_: held.append(pa.total_allocated_bytes() - before))
    assert len(faces) == len(blobs)
    assert len(held) > 4
    assert max(held) < path.stat().st_size / 2
