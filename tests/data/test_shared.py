"""FER2013 itself: the published counts, and the same faces from every layout."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from mien.data import Faces, load_faces
from mien.data.describe import describe
from mien.data.faces import pixel_keys
from mien.data.writers import convert_faces

SOME = 210


def test_the_published_counts(fer2013: Faces) -> None:
    assert fer2013.splits() == {"Training": 28709, "PublicTest": 3589, "PrivateTest": 3589}
    counts = fer2013.select("Training").label_counts()
    assert list(counts.values()) == [3995, 436, 4097, 7215, 4830, 3171, 4965]
    assert fer2013.emotion[:5].tolist() == [0, 0, 2, 4, 6]
    assert fer2013.images[0, 0, :6].tolist() == [70, 80, 82, 72, 58, 58]
    assert fer2013.votes is not None
    assert fer2013.votes.shape == (35887, 10)


def test_the_known_leaks_and_blanks(fer2013: Faces) -> None:
    figures = describe(fer2013)
    assert figures["leaked"] == {"PublicTest": 279, "PrivateTest": 291}
    assert figures["images"]["constant"] == 12


def test_the_known_groups_of_identical_faces(shared: Path, fer2013: Faces) -> None:
    exact = pq.read_table(shared / "data" / "fer2013.parquet", columns=["exact"])["exact"].to_numpy()
    groups = [count for count in Counter(pixel_keys(fer2013.images[exact])).values() if count > 1]
    assert (len(groups), sum(groups)) == (1517, 3361)


def test_the_figures_agree_with_numpy(fer2013: Faces) -> None:
    some = fer2013.take(np.arange(0, 35887, 100))
    images = describe(some)["images"]
    assert images["mean"] == pytest.approx(some.images.mean(), abs=1e-4)
    assert images["std"] == pytest.approx(some.images.std(), abs=1e-4)


@pytest.fixture(scope="module")
def written(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Some of the faces in each layout, as the shared tool writes them."""
    folder = tmp_path_factory.mktemp("layouts")
    paths = {"csv": folder / "icml_face_data.csv", "old-csv": folder / "fer2013.csv", "npz": folder / "faces.npz"}
    paths["folder"] = folder / "images"
    for layout, path in paths.items():
        tool = [sys.executable, shared / "tools" / "fer2013.py", layout, path, "--limit", str(SOME)]
        subprocess.run(tool, check=True)
    return paths


@pytest.fixture(scope="module")
def some(fer2013: Faces) -> Faces:
    return fer2013.take(np.unique(np.linspace(0, len(fer2013) - 1, SOME).astype(int)))


@pytest.mark.parametrize("layout", ["csv", "old-csv", "npz", "folder"])
def test_every_layout_holds_the_same_faces(written: dict[str, Path], some: Faces, layout: str) -> None:
    faces = load_faces(written[layout])
    assert faces.fingerprint == some.fingerprint
    np.testing.assert_array_equal(faces.votes, some.votes)
    if layout == "folder":
        np.testing.assert_array_equal(faces.row, some.row)


@pytest.mark.parametrize("layout", ["csv", "old-csv"])
def test_tables_are_written_byte_for_byte(written: dict[str, Path], tmp_path: Path, some: Faces, layout: str) -> None:
    path = convert_faces(some, tmp_path / "x.csv", layout)
    assert path.read_bytes() == written[layout].read_bytes()


def test_the_folder_has_the_same_files(written: dict[str, Path], tmp_path: Path, some: Faces) -> None:
    folder = convert_faces(some, tmp_path / "images", "folder")

    def names(root: Path) -> list[str]:
        return sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))

    assert names(folder) == names(written["folder"])


def test_parquet_keeps_faces_and_votes(tmp_path: Path, some: Faces) -> None:
    faces = load_faces(convert_faces(some, tmp_path / "x.parquet", "parquet"))
    assert faces.fingerprint == some.fingerprint
    np.testing.assert_array_equal(faces.votes, some.votes)
