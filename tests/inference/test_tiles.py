"""Small faces in large images: where tiles lie, what is found by them, and what is noted without them."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mien.data.decoding import read_image
from mien.errors import ModelError
from mien.inference import Detection, Predictor
from mien.inference.detection import YuNet
from mien.inference.tiles import TiledDetector, tile_starts

GRID = [(240 + 560 * column, 150 + 520 * row) for row in range(3) for column in range(5)]
"""Where the scene's faces lie: left and top."""


@pytest.fixture(scope="module")
def scene() -> NDArray[np.uint8]:
    """A large gray image, RGB uint8 (1800, 3200, 3), with 15 portraits whose faces are about 40 pixels high."""
    matplotlib = pytest.importorskip("matplotlib")
    photo = read_image(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").pixels
    small = cv2.resize(photo, (102, 120), interpolation=cv2.INTER_AREA)
    image = np.full((1800, 3200, 3), 120, np.uint8)
    for left, top in GRID:
        image[top : top + 120, left : left + 102] = small
    return image


def test_every_position_is_in_a_tile_and_every_face_whole_in_one() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        length, tile = int(rng.integers(1, 3000)), int(rng.integers(2, 700))
        overlap = int(rng.integers(0, tile))
        starts = tile_starts(length, tile, overlap)
        ends = [min(length, start + tile) for start in starts]
        assert starts == sorted(set(starts))
        whole = min(overlap, length) or 1
        for position in range(length - whole + 1):
            assert any(start <= position and position + whole <= end for start, end in zip(starts, ends, strict=True))
        fewest = next(n for n in range(1, length + 2) if n * tile - (n - 1) * overlap >= length)
        assert len(starts) == fewest


def test_small_faces_are_found_once_and_where_they_are(scene: NDArray[np.uint8]) -> None:
    detector = YuNet(side=640, threads=2)
    assert not Predictor("tiny", threads=2, detector=detector).predict(scene).faces
    found = Predictor("tiny", threads=2, detector=detector, min_face=50).predict(scene)
    assert found.note is None
    assert len(found.faces) == len(GRID)
    middles = [(x + width / 2, y + height / 2) for x, y, width, height in (one.box for one in found.faces)]
    for left, top in GRID:
        assert sum(left + 30 < x < left + 75 and top + 20 < y < top + 70 for x, y in middles) == 1


def test_a_small_image_is_enlarged_for_smaller_faces(scene: NDArray[np.uint8]) -> None:
    """A face of 8 pixels, and where it is."""
    small = cv2.resize(scene[:400, :600], (120, 80), interpolation=cv2.INTER_AREA)
    assert not Predictor("tiny", threads=1).predict(small).faces
    (face,) = Predictor("tiny", threads=1, min_face=8).predict(small).faces
    x, y, width, height = face.box
    assert (6, 7) <= (width, height) <= (12, 14)
    assert 48 + 7 < x + width / 2 < 48 + 14
    assert 30 + 5 < y + height / 2 < 30 + 14


def test_reading_keeps_the_pixels_that_a_small_face_needs() -> None:
    """4,000 pixels are reduced to 2,560, which leaves 31 of a face of 48; with max_zoom they stay."""
    wide = np.zeros((20, 4000, 3), np.uint8)
    assert read_image(wide).pixels.shape[1] == 2560
    assert read_image(wide, max_zoom=1.25).pixels.shape[1] == 3200
    assert read_image(wide, max_zoom=1.0).pixels.shape == wide.shape


class _Marks:
    """Finds white rectangles, of which it sees what a tile shows; at most 100 pixels wide and high."""

    framing, side, smallest = None, 100, 5.0

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        if max(image.shape[:2]) > self.side:
            return []
        _, _, stats, _ = cv2.connectedComponentsWithStats(image[..., 0])
        return [Detection((*map(float, row[:4]),), 0.9, ((1.0, 2.0),) * 5) for row in stats[1:]]  # type: ignore[arg-type]


def test_what_a_border_cuts_is_found_whole_in_another_tile() -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        image = np.zeros((150, 390, 3), np.uint8)
        left, top, side = int(rng.integers(0, 370)), int(rng.integers(0, 130)), int(rng.integers(6, 21))
        image[top : top + side, left : left + side] = 255
        (found,) = TiledDetector(_Marks(), 7.5)(image)
        assert (
            found.box == (left, top, side, side)
            or found.box[0] + found.box[2] == 390
            or found.box[1] + found.box[3] == 150
        )
        assert found.landmarks is not None
        assert found.landmarks[0][0] <= left + 1


@pytest.mark.parametrize(
    ("shape", "noted"), [((1200, 1600), None), ((1080, 1920), None), ((2000, 3000), "112"), ((4000, 6000), "225")]
)
def test_what_is_out_of_reach_is_noted(shape: tuple[int, int], noted: str | None) -> None:
    predictor = Predictor("tiny", threads=1, detector=YuNet(threads=1))
    image = np.zeros((*shape, 3), np.uint8)
    note = predictor.predict(image).note
    assert note == (
        noted and f"faces smaller than {noted} pixels are out of reach; set min_face (--min-face) to find them"
    )
    assert predictor.predict(image).to_dict()["note"] == note
    assert predictor.detect(image, min_face=1000).note is None
    assert predictor.crops([image])[0].note is None


def test_a_detector_without_a_smallest_face_is_refused() -> None:
    with pytest.raises(ModelError, match="has no smallest face"):
        Predictor("tiny", detector="none", min_face=40)
    with pytest.raises(ValueError, match="at least 1"):
        Predictor("tiny", min_face=0)
