"""Round trips through every layout, and what is refused."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

from mien.data import Faces, load_faces
from mien.data.faces import USAGES
from mien.data.writers import Layout, convert_faces, export_examples
from mien.errors import DataError

SUFFIX = {"csv": ".csv", "old-csv": ".csv", "folder": "", "parquet": ".parquet"}


@st.composite
def small_sets(draw: st.DrawFn) -> Faces:
    n = draw(st.integers(1, 6))
    flat = draw(npst.arrays(np.uint8, (n, 2), elements=st.integers(0, 255)))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    images = np.where(rng.random((n, 48, 48)) < 0.5, flat[:, :1, None], rng.integers(0, 256, (n, 48, 48)))
    usage = draw(npst.arrays(np.uint8, n, elements=st.integers(0, 3)))
    emotion = draw(npst.arrays(np.int64, n, elements=st.integers(0, 6)))
    row = draw(st.permutations(range(n)))
    votes = rng.integers(0, 11, (n, 10), dtype=np.uint8) if draw(st.booleans()) else None
    return Faces(images.astype(np.uint8), emotion, usage, np.array(row, dtype=np.int64), votes)


@pytest.mark.parametrize("layout", list(Layout))
@given(faces=small_sets())
@settings(max_examples=20)
def test_every_layout_gives_the_same_faces_back(layout: str, faces: Faces) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = convert_faces(faces, Path(folder) / f"faces{SUFFIX[layout]}", layout)
        back = load_faces(path, cache=False, make_splits=False)
    assert back.fingerprint == faces.fingerprint
    if layout == Layout.PARQUET and faces.votes is not None:
        np.testing.assert_array_equal(back.votes, faces.votes)


@pytest.mark.parametrize("layout", ["csv", "old-csv", "parquet"])
def test_unlabelled_test_faces_round_trip(tmp_path: Path, some_faces: Faces, layout: str) -> None:
    faces = some_faces.take(np.arange(14, 42))
    faces.emotion[::3] = -1
    path = convert_faces(faces, tmp_path / f"x{SUFFIX[layout]}", layout)
    assert load_faces(path).fingerprint == faces.fingerprint


def test_faces_without_a_label_are_refused_where_they_have_no_place(tmp_path: Path, some_faces: Faces) -> None:
    faces = some_faces.take(np.arange(42))
    faces.emotion[20] = -1
    with pytest.raises(DataError, match="1 faces have no label"):
        convert_faces(faces, tmp_path / "x", "folder")
    faces.emotion[0] = -1
    with pytest.raises(DataError, match="Training faces without a label"):
        convert_faces(faces, tmp_path / "x.csv", "csv")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_empty_is_left_alone(tmp_path: Path, some_faces: Faces) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(DataError, match="not an empty folder"):
        convert_faces(some_faces, tmp_path, "folder")
    with pytest.raises(DataError, match="this is a folder"):
        convert_faces(some_faces, tmp_path, "csv")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled_and_nothing_stays_beside_it(tmp_path: Path, some_faces: Faces) -> None:
    (tmp_path / "out").mkdir()
    convert_faces(some_faces, tmp_path / "out", "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["test", "train"]


@pytest.mark.parametrize("layout", list(Layout))
def test_a_failed_write_leaves_nothing(tmp_path: Path, some_faces: Faces, layout: str) -> None:
    """A split index out of range stands for whatever may go wrong half way."""
    is_corrupt = some_faces.take(np.arange(42))
    is_corrupt.usage[30] = len(USAGES)
    with pytest.raises(IndexError):
        convert_faces(is_corrupt, tmp_path / "out", layout)
    assert not list(tmp_path.iterdir())


def test_a_path_that_cannot_be_written_is_one_clear_error(tmp_path: Path, some_faces: Faces) -> None:
    (tmp_path / "file").write_text("")
    for layout in Layout:
        with pytest.raises(DataError, match=r"cannot be written|not an empty folder"):
            convert_faces(some_faces, tmp_path / "file" / "x", layout)


def test_an_unknown_layout_and_no_faces_are_refused(tmp_path: Path, some_faces: Faces) -> None:
    with pytest.raises(DataError, match="there is no layout 'xml'"):
        convert_faces(some_faces, tmp_path / "x", "xml")
    with pytest.raises(DataError, match="no faces to write"):
        convert_faces(some_faces.take(np.zeros(42, dtype=bool)), tmp_path / "x", "csv")


@pytest.mark.parametrize("channels", [1, 3])
def test_examples_are_one_png_a_class(tmp_path: Path, some_faces: Faces, channels: int) -> None:
    paths = export_examples(some_faces, tmp_path, channels)
    assert paths[0] == tmp_path / f"examples_48_48_{channels}" / f"Angry_48_48_{channels}.png"
    assert len(paths) == 7
    for label, path in enumerate(paths):
        pixels = np.asarray(Image.open(path))
        assert pixels.shape == ((48, 48) if channels == 1 else (48, 48, 3))
        np.testing.assert_array_equal(pixels.reshape(48, 48, -1)[..., 0], some_faces.images[label])


def test_examples_have_1_or_3_channels(tmp_path: Path, some_faces: Faces) -> None:
    with pytest.raises(DataError, match="1 or 3 channels, not 2"):
        export_examples(some_faces, tmp_path, 2)
