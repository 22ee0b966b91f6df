"""Where faces are, and the square that is cut around them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mien.data.decoding import read_image
from mien.errors import ModelError
from mien.inference.detection import (
    Detection,
    Framing,
    WholeImage,
    YuNet,
    find_detector,
    kept_boxes,
    resize_to,
)

ROOT = Path(__file__).resolve().parents[2]
TRUTH = (183, 120, 170, 212)
"""Grace Hopper's face: left, top, width and height."""


@pytest.fixture(scope="module")
def hopper() -> NDArray[np.uint8]:
    """A photo with one face, RGB uint8 (600, 512, 3)."""
    matplotlib = pytest.importorskip("matplotlib")
    return read_image(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").pixels


@pytest.fixture(scope="module")
def yunet() -> YuNet:
    return YuNet(side=320, threads=1)


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    shared = [min(one[i] + one[i + 2], other[i] + other[i + 2]) - max(one[i], other[i]) for i in (0, 1)]
    common = max(0.0, shared[0]) * max(0.0, shared[1])
    return common / (one[2] * one[3] + other[2] * other[3] - common)


def test_one_face_is_found_where_it_is(yunet: YuNet, hopper: NDArray[np.uint8]) -> None:
    (found,) = yunet(hopper)
    assert overlap(found.box, TRUTH) > 0.6
    assert found.score is not None
    assert found.score > 0.7
    assert found.landmarks is not None
    left_eye, right_eye, nose, left_mouth, right_mouth = found.landmarks
    assert left_eye[0] < nose[0] < right_eye[0]
    assert left_mouth[0] < nose[0] < right_mouth[0]
    assert max(left_eye[1], right_eye[1]) < nose[1] < min(left_mouth[1], right_mouth[1])
    for x, y in found.landmarks:
        assert 0 < (x - found.box[0]) / found.box[2] < 1
        assert 0 < (y - found.box[1]) / found.box[3] < 1


def test_two_faces_of_a_wide_picture_are_told_apart(yunet: YuNet, hopper: NDArray[np.uint8]) -> None:
    """Sides that are no multiple of 32, an image wider than high, and boxes mapped back from the reduced one."""
    pair = np.hstack([hopper, hopper[:, ::-1]])[:-7, :-5]
    found = sorted(yunet(pair), key=lambda one: one.box[0])
    assert len(found) == 2
    mirrored = (2 * hopper.shape[1] - TRUTH[0] - TRUTH[2], *TRUTH[1:])
    assert overlap(found[0].box, TRUTH) > 0.6
    assert overlap(found[1].box, mirrored) > 0.6


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (48, 48), (33, 65)])
def test_plain_pictures_of_any_size_have_no_face(yunet: YuNet, shape: tuple[int, int]) -> None:
    assert yunet(np.full((*shape, 3), 120, np.uint8)) == []


def test_the_shipped_detector_is_the_noted_one() -> None:
    from mien._utils.assets import ASSETS

    digest = hashlib.sha256((ASSETS / "yunet.onnx").read_bytes()).hexdigest()
    assert digest in (ROOT / "NOTICE").read_text()


def test_boxes_are_those_of_opencvs_own_reader(hopper: NDArray[np.uint8]) -> None:
    from mien._utils.assets import ASSETS

    height, width = 375, 320
    small = cv2.resize(hopper, (width, height), interpolation=cv2.INTER_AREA)
    try:
        theirs = cv2.FaceDetectorYN.create(str(ASSETS / "yunet.onnx"), "", (width, height), 0.7, 0.3)
        _, rows = theirs.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
    except cv2.error:
        pytest.skip("this OpenCV does not read a network whose input has any size")
    (found,) = YuNet(threads=1)(small)
    assert found.landmarks is not None
    ours = [*found.box, *(value for point in found.landmarks for value in point), found.score]
    assert ours == pytest.approx(rows[0].tolist(), abs=0.02)


def test_the_framing_is_the_measured_one() -> None:
    """The side is the median times the margin by which pasted faces and portraits were classified best."""
    results = json.loads((ROOT / "results" / "framing.json").read_text())
    pasted, portraits = (results[part]["by_margin"] for part in ("pasted_public", "labelled_portraits"))
    margin = max(pasted, key=lambda one: pasted[one] + portraits[one])
    framing, measured = YuNet.framing, results["framing"]
    assert framing is not None
    assert framing.side == pytest.approx(measured["side"] * float(margin), abs=0.006)
    assert framing.right == pytest.approx(measured["right"], abs=0.003)
    assert framing.down == pytest.approx(measured["down"], abs=0.003)


def test_of_overlapping_boxes_the_surest_stays() -> None:
    boxes = np.array([[0, 0, 10, 10], [1, 1, 10, 10], [20, 0, 10, 10], [0, 0, 10, 4]], float)
    scores = np.array([0.6, 0.9, 0.8, 0.7])
    assert kept_boxes(boxes, scores, 0.5) == [1, 2, 3]
    assert kept_boxes(boxes, scores, 0.1) == [1, 2]
    assert kept_boxes(boxes, scores, 1.0) == [1, 2, 3, 0]
    assert kept_boxes(boxes[:0], scores[:0], 0.5) == []


def test_a_square_lies_as_the_framing_says() -> None:
    framing = Framing(right=0.1, down=-0.25, side=1.5)
    assert framing.square((10, 20, 40, 90)) == pytest.approx((34 - 45, 42.5 - 45, 90, 90))


def test_resizing_keeps_the_shape() -> None:
    image = np.zeros((300, 100, 3), np.uint8)
    small, zoom = resize_to(image, 30)
    assert (small.shape, zoom) == ((30, 10, 3), 10)
    assert resize_to(image, 300)[0] is image
    assert resize_to(image, 600)[0].shape == (600, 200, 3)
    assert resize_to(np.zeros((3000, 1, 3), np.uint8), 30)[0].shape == (30, 1, 3)


def test_none_is_the_whole_image() -> None:
    (found,) = WholeImage()(np.zeros((7, 9, 3), np.uint8))
    assert (found.box, found.score, found.landmarks) == ((0, 0, 9, 7), None, None)


@pytest.mark.parametrize(
    ("box", "score", "landmarks"),
    [((0, 0, 0, 4), 0.5, None), ((0, 0, 4, -1), 0.5, None), ((0, 0, 4, 4), 1.5, None), ((0, 0, 4, 4), 0.5, ((1, 1),))],
)
def test_detections_that_are_none_are_refused(box: tuple, score: float, landmarks: tuple | None) -> None:
    with pytest.raises(ValueError, match=r"a box has|a score is|landmarks are"):
        Detection(box, score, landmarks)


@pytest.mark.parametrize("name", ["auto", "centerface", "haar"])
def test_an_unknown_detector_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match=rf"no detector '{name}'\. Choose fast, accurate or none"):
        find_detector(name)


def test_accurate_finds_smaller_faces_than_fast(hopper: NDArray[np.uint8]) -> None:
    """A face of 8 pixels; and one that fills the photo is found by both."""
    small = np.full((400, 400, 3), 110, np.uint8)
    small[100:128, 100:124] = cv2.resize(hopper, (24, 28), interpolation=cv2.INTER_AREA)
    close = cv2.resize(hopper[110:342, 170:366], (980, 1160), interpolation=cv2.INTER_CUBIC)
    for name, count in (("fast", 0), ("accurate", 1)):
        detector = find_detector(name, threads=1)
        assert len(detector(small)) == count
        (face,) = detector(close)
        assert overlap(face.box, (65, 50, 850, 1060)) > 0.6
