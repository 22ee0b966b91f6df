"""Image bytes and folders of images."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mien.data import Faces, load_faces
from mien.data.decoding import decode
from mien.emotions import Emotion
from mien.errors import BadRowError


def encode(image: np.ndarray, form: str, mode: str = "L", **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).convert(mode).save(buffer, form, **options)
    return buffer.getvalue()


def put(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode(image, "PNG"))


@pytest.mark.parametrize(
    ("form", "mode"), [("PNG", "L"), ("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("BMP", "L"), ("BMP", "RGB")]
)
def test_lossless_images_are_read_exactly(some_faces: Faces, form: str, mode: str) -> None:
    np.testing.assert_array_equal(decode(encode(some_faces.images[0], form, mode)), some_faces.images[0])


def test_lossless_webp_is_read_exactly(some_faces: Faces) -> None:
    data = encode(some_faces.images[0], "WEBP", "RGB", lossless=True)
    np.testing.assert_array_equal(decode(data), some_faces.images[0])


@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_lossy_images_come_close(form: str) -> None:
    smooth = np.add.outer(np.arange(48), 2 * np.arange(48)).astype(np.uint8)
    assert np.abs(decode(encode(smooth, form)).astype(int) - smooth).mean() < 5


@pytest.mark.parametrize("shape", [(96, 96), (12, 20), (480, 640), (48, 200), (1, 1)])
def test_any_size_becomes_48_by_48(shape: tuple[int, int]) -> None:
    face = decode(encode(np.full(shape, 77, dtype=np.uint8), "PNG"))
    assert face.shape == (48, 48)
    assert face.dtype == np.uint8
    assert set(face.ravel().tolist()) == {77}


def test_shrinking_averages_over_areas() -> None:
    """Taking every second pixel of a fine checkerboard would give black or white, not gray."""
    board = (np.indices((96, 96)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert 126 <= decode(encode(board, "PNG")).min() <= decode(encode(board, "PNG")).max() <= 129


def test_sixteen_bits_keep_their_high_byte(some_faces: Faces) -> None:
    deep = some_faces.images[0].astype(np.uint16) * 257
    buffer = io.BytesIO()
    Image.fromarray(deep).save(buffer, "PNG")
    assert np.abs(decode(buffer.getvalue()).astype(int) - some_faces.images[0]).max() <= 1


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP"])
@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.95])
def test_a_part_of_an_image_is_refused(some_faces: Faces, form: str, part: float) -> None:
    """Some decoders fill what is missing with gray and say nothing."""
    data = encode(some_faces.images[0], form)
    with pytest.raises(ValueError, match=r"image|empty"):
        decode(data[: int(len(data) * part)])


def test_alphabetical_folders_do_not_shuffle_labels(tmp_path: Path, some_faces: Faces) -> None:
    words = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
    for label, word in enumerate(words):
        put(tmp_path / "train" / word / "a.png", some_faces.images[label])
    faces = load_faces(tmp_path)
    by_label = {int(label): image for label, image in zip(faces.emotion, faces.images, strict=True)}
    for label in range(7):
        np.testing.assert_array_equal(by_label[label], some_faces.images[label])


@pytest.mark.parametrize(
    ("folders", "usage"),
    [
        ("train/happy", "Training"),
        ("Training/Happiness", "Training"),
        ("TRAIN/3", "Training"),
        ("happy", "Training"),
        ("validation/happy", "PublicTest"),
        ("val/happy", "PublicTest"),
        ("PublicTest/joy", "PublicTest"),
        ("privatetest/happy", "PrivateTest"),
        ("Test/HAPPY", "test"),
        ("images/test/happy", "test"),
    ],
)
def test_folder_names_give_split_and_label(tmp_path: Path, some_faces: Faces, folders: str, usage: str) -> None:
    put(tmp_path / folders / "x.png", some_faces.images[0])
    faces = load_faces(tmp_path)
    assert faces.splits() == {usage: 1}
    assert faces.emotion.tolist() == [Emotion.HAPPY]


def test_prefixes_win_over_folders_and_numbers_order_the_rows(tmp_path: Path, some_faces: Faces) -> None:
    put(tmp_path / "test" / "angry" / "PrivateTest_30.png", some_faces.images[2])
    put(tmp_path / "test" / "sad" / "PublicTest_4.png", some_faces.images[1])
    put(tmp_path / "train" / "happy" / "Training_3.png", some_faces.images[0])
    faces = load_faces(tmp_path)
    assert faces.row.tolist() == [3, 4, 30]
    assert list(faces.splits()) == ["Training", "PublicTest", "PrivateTest"]
    np.testing.assert_array_equal(faces.images, some_faces.images[:3])


def test_one_file_without_a_number_brings_back_the_order_of_paths(tmp_path: Path, some_faces: Faces) -> None:
    put(tmp_path / "train" / "angry" / "Training_9.png", some_faces.images[0])
    put(tmp_path / "train" / "angry" / "zoe.png", some_faces.images[1])
    put(tmp_path / "train" / "happy" / "Training_1.png", some_faces.images[2])
    faces = load_faces(tmp_path)
    np.testing.assert_array_equal(faces.images, some_faces.images[:3])
    assert faces.row.tolist() == [0, 1, 2]


def test_hidden_files_and_clutter_are_no_faces(tmp_path: Path, some_faces: Faces) -> None:
    put(tmp_path / "train" / "angry" / "a.png", some_faces.images[0])
    for clutter in (".DS_Store", "train/angry/.DS_Store", "train/angry/Thumbs.db", "README.md", "__MACOSX/x.png"):
        (tmp_path / clutter).parent.mkdir(exist_ok=True)
        (tmp_path / clutter).write_text("clutter")
    assert len(load_faces(tmp_path)) == 1


def test_linked_folders_are_read(tmp_path: Path, some_faces: Faces) -> None:
    put(tmp_path / "elsewhere" / "angry" / "a.png", some_faces.images[0])
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "train").symlink_to(tmp_path / "elsewhere")
    assert load_faces(tmp_path / "set").splits() == {"Training": 1}


def test_bad_files_are_listed_by_their_path(tmp_path: Path, some_faces: Faces) -> None:
    put(tmp_path / "train" / "angry" / "a.png", some_faces.images[0])
    put(tmp_path / "train" / "contempt" / "c.png", some_faces.images[1])
    (tmp_path / "train" / "angry" / "b.png").write_bytes(b"not an image")
    (tmp_path / "train" / "angry" / "notes.txt").write_text("who took this?")
    with pytest.raises(BadRowError, match=r"train/contempt/c\.png: 'contempt' is none of the seven"):
        load_faces(tmp_path)
    faces = load_faces(tmp_path, skip_bad=True)
    assert len(faces) == 1
    assert sorted(line.partition(":")[0] for line in faces.skipped) == [
        "train/angry/b.png",
        "train/angry/notes.txt",
        "train/contempt/c.png",
    ]
    shutil.rmtree(tmp_path / "train" / "contempt")
    with pytest.raises(BadRowError, match=r"b\.png: it is not a readable image"):
        load_faces(tmp_path)


def test_a_folder_that_names_no_split_is_not_taken_for_training(tmp_path: Path, some_faces: Faces) -> None:
    put(tmp_path / "holdout" / "angry" / "a.png", some_faces.images[0])
    put(tmp_path / "train" / "angry" / "a.png", some_faces.images[0])
    with pytest.raises(BadRowError, match="'holdout' is no split"):
        load_faces(tmp_path)
