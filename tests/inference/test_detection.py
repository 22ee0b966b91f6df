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
from mien.inference import yunet as fetch
from mien.inference.detection import (
    CenterFace,
    Detection,
    Framing,
    WholeImage,
    YuNet,
    find_detector,
    kept_boxes,
    reduce_to,
)

TRUTH = (183, 120, 170, 212)
"""Grace Hopper's face: left, top, width and height."""


@pytest.fixture(scope="module")
def hopper() -> NDArray[np.uint8]:
    """A photo with one face, RGB uint8 (600, 512, 3)."""
    matplotlib = pytest.importorskip("matplotlib")
    return read_image(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").pixels


@pytest.fixture(scope="module")
def centerface() -> CenterFace:
    return CenterFace(side=320, threads=1)


def overlap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    shared = [min(one[i] + one[i + 2], other[i] + other[i + 2]) - max(one[i], other[i]) for i in (0, 1)]
    common = max(0.0, shared[0]) * max(0.0, shared[1])
    return common / (one[2] * one[3] + other[2] * other[3] - common)


def test_one_face_is_found_where_it_is(centerface: CenterFace, hopper: NDArray[np.uint8]) -> None:
    (found,) = centerface(hopper)
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


def test_two_faces_of_a_wide_picture_are_told_apart(centerface: CenterFace, hopper: NDArray[np.uint8]) -> None:
    """Sides that are no multiple of 32, an image wider than high, and boxes mapped back from the reduced one."""
    pair = np.hstack([hopper, hopper[:, ::-1]])[:-7, :-5]
    found = sorted(centerface(pair), key=lambda one: one.box[0])
    assert len(found) == 2
    mirrored = (2 * hopper.shape[1] - TRUTH[0] - TRUTH[2], *TRUTH[1:])
    assert overlap(found[0].box, TRUTH) > 0.6
    assert overlap(found[1].box, mirrored) > 0.6


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (48, 48), (33, 65)])
def test_plain_pictures_of_any_size_have_no_face(centerface: CenterFace, shape: tuple[int, int]) -> None:
    assert centerface(np.full((*shape, 3), 120, np.uint8)) == []


def test_the_shipped_detector_is_the_noted_one() -> None:
    notice = (Path(__file__).resolve().parents[2] / "NOTICE").read_text()
    from mien._utils.assets import ASSETS

    model = (ASSETS / "centerface.onnx").read_bytes()
    assert b"09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc" in model
    assert "09189deaaf8646c5c51a68447e3c744ea1e211798155d4728c20507b9f5aefbc" in notice
    assert len(model) < 4_000_000


@pytest.mark.parametrize(("name", "framing"), [("centerface", CenterFace.framing), ("yunet", YuNet.framing)])
def test_the_framings_are_the_measured_ones(name: str, framing: Framing) -> None:
    """The side is the median times the margin by which both detectors' faces were named best."""
    results = json.loads((Path(__file__).resolve().parents[2] / "results" / "framing.json").read_text())
    measured, named = (results["detectors"][name][part] for part in ("framing", "pasted_public"))
    margin = max(named["by_margin"], key=named["by_margin"].__getitem__)
    assert framing.side == pytest.approx(measured["side"] * float(margin), abs=0.006)
    assert framing.right == pytest.approx(measured["right"], abs=0.02)
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


def test_reducing_keeps_the_shape_and_never_enlarges() -> None:
    image = np.zeros((300, 100, 3), np.uint8)
    small, zoom = reduce_to(image, 30)
    assert (small.shape, zoom) == ((30, 10, 3), 10)
    assert reduce_to(image, 300)[0] is image
    assert reduce_to(np.zeros((3000, 1, 3), np.uint8), 30)[0].shape == (30, 1, 3)


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


@pytest.fixture
def no_yunet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("MIEN_CACHE", str(tmp_path))
    monkeypatch.delenv("MIEN_YUNET", raising=False)
    return tmp_path


def test_auto_is_the_shipped_detector_where_yunet_is_absent(no_yunet: Path) -> None:
    assert isinstance(find_detector("auto"), CenterFace)
    with pytest.raises(ModelError, match=r"YuNet's file is not there\. Run: mien fetch-detector"):
        find_detector("yunet")
    with pytest.raises(ModelError, match=r"no detector 'haar'\. Choose auto, centerface, yunet or none"):
        find_detector("haar")


def test_a_file_that_is_named_and_absent_is_never_passed_over(no_yunet: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIEN_YUNET", str(no_yunet / "gone.onnx"))
    with pytest.raises(ModelError, match=r"gone\.onnx: YuNet's file is not there"):
        find_detector("auto")


def test_a_file_that_is_no_detector_is_refused(no_yunet: Path) -> None:
    (no_yunet / "bad.onnx").write_bytes(b"not a network")
    with pytest.raises(ModelError, match="OpenCV cannot read this detector"):
        YuNet(no_yunet / "bad.onnx")


def test_what_is_fetched_is_checked_and_kept(no_yunet: Path) -> None:
    source = no_yunet / "source.onnx"
    source.write_bytes(b"as if")
    right = hashlib.sha256(b"as if").hexdigest()
    with pytest.raises(ModelError, match=r"another SHA-256.*set MIEN_YUNET"):
        fetch.fetch_yunet(source.as_uri(), "0" * 64)
    assert fetch.yunet_file(missing_ok=True) is None
    with pytest.raises(ModelError, match="could not be fetched"):
        fetch.fetch_yunet((no_yunet / "gone").as_uri(), right)
    path = fetch.fetch_yunet(source.as_uri(), right)
    assert path.read_bytes() == b"as if"
    assert fetch.yunet_file() == path


def test_yunet_finds_the_face_where_its_file_is_at_hand(hopper: NDArray[np.uint8]) -> None:
    file = fetch.yunet_file(missing_ok=True)
    if file is None:
        pytest.skip("YuNet's file is not here (set MIEN_YUNET)")
    (found,) = YuNet(file)(cv2.resize(hopper, (256, 300), interpolation=cv2.INTER_AREA))
    assert overlap(tuple(2 * v for v in found.box), TRUTH) > 0.6
