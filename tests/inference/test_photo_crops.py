"""Folders of photos become a data set of faces, with a table of every photo and an image grid."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mien import Predictor, crop_photos, load_faces
from mien.errors import DataError
from mien.inference.detection import Detection, Framing


class TwoFaces:
    """The left upper eighth with confidence, the right lower quarter with less; none in images of 20 pixels."""

    framing: Framing | None = None

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        height, width = image.shape[0] / 2, image.shape[1] / 2
        if image.shape[1] <= 20:
            return []
        return [Detection((0, 0, width / 2, height), 0.9), Detection((width, height, width, height), 0.6)]


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return Predictor("tiny", threads=1, detector=TwoFaces())


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Photos of noise by split and class, two with one stem, one without a face, one damaged, and other files."""
    root, noise = tmp_path / "photos", np.random.default_rng(1)
    names = (
        "train/calm/a.jpg",
        "train/calm/a.png",
        "train/überrascht/b.webp",
        "test/calm/c.bmp",
        "test/überrascht/d.png",
    )
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(noise.integers(0, 256, (300, 400, 3), dtype=np.uint8)).save(root / name)
    Image.new("RGB", (20, 20)).save(root / "train/calm/small.png")
    (root / "train/calm/broken.jpg").write_bytes(b"\xff\xd8 and no more")
    (root / "train/calm/clip.mov").write_bytes(b"x")
    (root / "classes.txt").write_text("überrascht\ncalm\n")
    return root


def rows(out: Path) -> list[dict[str, str]]:
    with out.with_name(f"{out.name}-photos.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def names(out: Path) -> list[str]:
    return sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())


def test_the_largest_face_goes_into_the_same_folder_as_predict_crops_it(
    photos: Path, predictor: Predictor, tmp_path: Path
) -> None:
    out, calls = tmp_path / "out", []
    done = crop_photos(photos, out, predictor, progress=lambda *args: calls.append(args))
    crops = [
        "test/calm/c.png",
        "test/überrascht/d.png",
        "train/calm/a-2.png",
        "train/calm/a.png",
        "train/überrascht/b.png",
    ]
    assert names(out) == ["classes.txt", *crops]
    for row in rows(out):
        if row["crop"]:
            with Image.open(out / row["crop"]) as face:
                assert (face.mode, face.size) == ("L", (48, 48))
                np.testing.assert_array_equal(np.asarray(face), predictor.detect(photos / row["path"]).crops[1])
            found = [
                row[name] for name in ("width", "height", "faces", "x", "y", "box_width", "box_height", "detection")
            ]
            assert found == ["400", "300", "2", "200", "150", "200", "150", "0.6000"]
    reasons = {row["path"]: row["reason"] for row in rows(out) if not row["crop"]}
    assert reasons["train/calm/small.png"] == "no face was detected"
    assert "not a readable image" in reasons["train/calm/broken.jpg"]
    assert len(rows(out)) == len(done.rows) == 7
    figures = done.to_dict()
    assert [figures[name] for name in ("photos", "with_face", "crops", "without_face", "unreadable")] == [7, 5, 5, 1, 1]
    assert figures["folders"]["train/calm"]["crops"] == 2
    assert figures["unread"] == {".mov": 1}
    assert calls[-1] == (7, 7, "photos")
    faces = load_faces(out, make_splits=False)
    assert (faces.labels, faces.splits(), faces.notes) == (("überrascht", "calm"), {"Training": 3, "test": 2}, ())


def test_every_face_is_cropped_the_largest_first(photos: Path, predictor: Predictor, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert crop_photos(photos, out, predictor, all_faces=True).to_dict()["crops"] == 10
    found = [(row["crop"], row["detection"]) for row in rows(out) if row["path"] == "test/calm/c.bmp"]
    assert found == [("test/calm/c.png", "0.6000"), ("test/calm/c-2.png", "0.9000")]
    assert len(names(out)) == 11


def test_the_grid_shows_the_least_confident_faces_of_each_folder(
    photos: Path, predictor: Predictor, tmp_path: Path
) -> None:
    for number in range(40):
        (photos / f"train/calm/more-{number}-{'long' * 20}.png").write_bytes((photos / "train/calm/a.png").read_bytes())
    crop_photos(photos, tmp_path / "out", predictor)
    with Image.open(tmp_path / "out-grid.png") as grid:
        pixels = np.asarray(grid)
    rows = (1, 1, 2, 1)  # of faces in the four folders, of which train/calm has 42
    assert pixels.shape[0] == sum(34 + lines * (96 + 28 + 8) for lines in rows) + 8
    with Image.open(tmp_path / "out/test/calm/c.png") as face:
        large = np.asarray(face.resize((96, 96), Image.Resampling.BICUBIC))
    np.testing.assert_array_equal(pixels[34:130, 8:104], large)


def test_nothing_is_left_where_it_fails(photos: Path, predictor: Predictor, tmp_path: Path) -> None:
    def stop(done: int, total: int, unit: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        crop_photos(photos, tmp_path / "out", predictor, progress=stop)
    for name in names(photos):
        if not name.endswith(("small.png", ".txt")):
            (photos / name).unlink()
    with pytest.raises(DataError, match="no face in any of 1 photos, the first: no face was detected"):
        crop_photos(photos, tmp_path / "out", predictor)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_what_cannot_be_is_refused_before_anything_is_written(
    photos: Path, predictor: Predictor, tmp_path: Path
) -> None:
    (tmp_path / "linked-grid.png").hardlink_to(photos / "train/calm/a.png")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").touch()
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    refused = {
        photos: "replace the input", photos / "out": "inside the input", tmp_path / "linked": "replace the input",
        tmp_path / "full": "not an empty folder",
    }  # fmt: skip
    for out, reason in refused.items():
        with pytest.raises(DataError, match=reason):
            crop_photos(photos, out, predictor)
    for folder, reason in {tmp_path / "none": "cannot be read", tmp_path / "full": "no image in this folder"}.items():
        with pytest.raises(DataError, match=reason):
            crop_photos(folder, tmp_path / "out", predictor)
    with pytest.raises(DataError, match="in no folder of a class"):
        crop_photos(photos / "train/calm", tmp_path / "out", predictor)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
