"""Prediction: images in, one answer each, bad files told apart."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.cbook import get_sample_data
from numpy.typing import NDArray
from PIL import Image

import mien
from mien.data import Faces
from mien.emotions import LABELS
from mien.errors import ImageError, MissingExtraError, ModelError
from mien.inference import UNCERTAIN, Detection, Face, Prediction, Predictor, to_rows
from mien.inference.detection import Framing
from mien.inference.predictor import _default
from mien.models.onnx.session import Session
from mien.models.spec import Head

if TYPE_CHECKING:
    from mien.training import Run

EVEN = dict.fromkeys(LABELS, 1 / 7)


@pytest.fixture(scope="module")
def predictor(tiny_run: Run) -> Predictor:
    return Predictor(tiny_run.out, threads=1)


def test_faces_are_the_sessions_probabilities(predictor: Predictor, drawn: Faces) -> None:
    found = predictor.faces(drawn.images[:9])
    rows = Session(predictor.bundle, threads=1).probabilities(drawn.images[:9])[Head.LABELS]
    assert len(found) == 9
    for face, row in zip(found, rows, strict=True):
        assert list(face.probabilities) == list(predictor.labels) == list(LABELS)
        assert list(face.probabilities.values()) == row.tolist()
        assert face.emotion == LABELS[row.argmax()]
        assert face.confidence == row.max()
        assert (face.box, face.detection) == ((0, 0, 48, 48), None)
    assert predictor.faces(drawn.images[:0]) == []


def test_crops_of_any_size_mode_and_format(predictor: Predictor, drawn: Faces, tmp_path: Path) -> None:
    image = Image.fromarray(drawn.images[3])
    paths = [tmp_path / name for name in ("gray.png", "colour.png", "large.jpg", "wide.bmp", "lossless.webp")]
    image.save(paths[0])
    image.convert("RGB").save(paths[1])
    image.resize((192, 192)).save(paths[2], quality=95)
    image.resize((96, 48)).save(paths[3])
    image.convert("RGB").save(paths[4], lossless=True)
    found = predictor.crops(paths)
    assert [one.path for one in found] == list(map(str, paths))
    assert [(one.width, one.height) for one in found] == [(48, 48), (48, 48), (192, 192), (96, 48), (48, 48)]
    direct = np.array(list(predictor.faces(drawn.images[3:4])[0].probabilities.values()))
    for one in found:
        assert one.error is None
        (face,) = one.faces
        assert face.box == (0, 0, one.width, one.height)
        tolerance = 0.1 if one.path.endswith(("jpg", "bmp")) else 1e-6
        assert np.abs(np.array(list(face.probabilities.values())) - direct).max() < tolerance


def test_files_that_cannot_be_read_do_not_stop_the_others(predictor: Predictor, drawn: Faces, tmp_path: Path) -> None:
    good = [tmp_path / f"{number}.png" for number in range(2)]
    for number, path in enumerate(good):
        Image.fromarray(drawn.images[number]).save(path)
    text, half, folder = tmp_path / "text.png", tmp_path / "half.png", tmp_path / "folder.png"
    text.write_text("no image")
    half.write_bytes(good[0].read_bytes()[:600])
    folder.mkdir()
    found = predictor.crops([text, good[0], tmp_path / "gone.png", half, good[1], folder])
    assert [one.error is None for one in found] == [False, True, False, False, True, False]
    assert found[2].error == "No such file or directory"
    assert found[5].error == "Is a directory"
    for one, number in ((found[1], 0), (found[4], 1)):
        alone = predictor.faces(drawn.images[number : number + 1])[0].probabilities
        assert one.faces[0].probabilities == pytest.approx(alone, abs=1e-6)
    for one in found:
        if one.error is not None:
            assert (one.faces, one.width, one.height) == ((), None, None)
            assert one.error
            assert "\n" not in one.error
    assert [one.error is None for one in predictor.crops([text])] == [False]
    assert predictor.crops([]) == []


def test_answers_are_ready_for_json() -> None:
    face = Face((1, 2, 3, 4), EVEN, 0.5)
    found = json.loads(json.dumps(Prediction("a.png", 10, 20, (face,)).to_dict()))
    assert found == {
        "path": "a.png",
        "width": 10,
        "height": 20,
        "faces": [
            {"box": [1, 2, 3, 4], "detection": 0.5, "emotion": "Angry", "confidence": 1 / 7, "probabilities": EVEN}
        ],
        "error": None,
        "note": None,
    }
    assert repr(face) == "Face(Angry 14.3%, box=(1, 2, 3, 4))"


@pytest.mark.parametrize("change", [{"Angry": 0.5}, {"Angry": -0.1, "Sad": 0.1 + 2 / 7}, {"Fear": float("nan")}])
def test_probabilities_that_are_none_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="probabilities must be at least 0 and sum to 1"):
        Face((0, 0, 1, 1), EVEN | change)


def test_no_model_is_an_error_of_models(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model"):
        Predictor(tmp_path / "none.mien")


class Quarters:
    """A detector whose answer is known: the left upper and the right lower quarter of every picture above 20 wide."""

    framing: Framing | None = None

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        height, width = image.shape[0] / 2, image.shape[1] / 2
        if image.shape[1] <= 20:
            return []
        return [Detection((0, 0, width, height), 0.9), Detection((width, height, width, height), 0.6)]


@pytest.fixture(scope="module")
def finder(tiny_run: Run) -> Predictor:
    return Predictor(tiny_run.out, threads=1, detector=Quarters(), batch=5)


def quartered(drawn: Faces, number: int) -> NDArray[np.uint8]:
    """A gray picture with one drawn face in each of the quarters that the detector finds."""
    picture = np.zeros((96, 96), np.uint8)
    picture[:48, :48], picture[48:, 48:] = drawn.images[2 * number], drawn.images[2 * number + 1]
    return picture


def test_found_faces_are_cropped_and_named(finder: Predictor, drawn: Faces) -> None:
    pictures = [quartered(drawn, number) for number in range(12)]
    found = finder.predict(pictures)
    expected = finder.faces(drawn.images[:24])
    assert [one.path for one in found] == [f"[{number}]" for number in range(12)]
    for number, one in enumerate(found):
        assert [face.box for face in one.faces] == [(0, 0, 48, 48), (48, 48, 48, 48)]
        assert [face.detection for face in one.faces] == [0.9, 0.6]
        for face, direct in zip(one.faces, expected[2 * number :], strict=False):
            assert face.probabilities == pytest.approx(direct.probabilities, abs=1e-6)


def test_one_image_gives_one_prediction_and_the_same(finder: Predictor, drawn: Faces) -> None:
    picture = quartered(drawn, 0)
    one = finder.predict(picture)
    assert isinstance(one, Prediction)
    assert finder.predict([picture, picture])[1].faces[0].probabilities == pytest.approx(one.faces[0].probabilities)
    assert finder.predict([]) == []
    assert finder.predict(np.zeros((9, 9, 3), np.uint8)).faces == ()


def test_frames_may_come_in_opencvs_order(finder: Predictor) -> None:
    frame = np.random.default_rng(1).integers(0, 256, (96, 96, 3), dtype=np.uint8)
    assert finder.predict(frame).faces == finder.predict(frame[..., ::-1], channels="bgr").faces


def test_faces_go_through_the_network_in_batches(
    finder: Predictor, drawn: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve pictures with two faces each and a batch of five: 10, 10 and 4 faces, and no call for each face."""
    sizes: list[int] = []
    run = finder._session.output

    def spy(images: NDArray[np.uint8], batch: int) -> object:
        sizes.append(len(images))
        return run(images, batch)

    monkeypatch.setattr(finder._session, "output", spy)
    finder.predict([quartered(drawn, number) for number in range(12)])
    assert sizes == [10, 10, 4]


def test_a_stream_reads_no_further_than_it_must(finder: Predictor, drawn: Faces) -> None:
    asked: list[int] = []

    def frames() -> Iterator[NDArray[np.uint8]]:
        for number in range(1000):
            asked.append(number)
            yield quartered(drawn, number % 9)

    stream = finder.stream(frames())
    for _ in range(6):
        next(stream)
    assert len(asked) == 10


def test_errors_stand_where_their_images_stood(finder: Predictor, drawn: Faces) -> None:
    found = finder.predict([quartered(drawn, 0), b"no image", 7, quartered(drawn, 1), np.zeros((4, 4, 9), np.uint8)])
    assert [one.error is None for one in found] == [True, False, False, True, False]
    assert found[1].error == "it is not a readable image (unknown format)"
    assert found[3].faces[0].probabilities == pytest.approx(finder.predict(quartered(drawn, 1)).faces[0].probabilities)


def test_boxes_are_in_pixels_of_the_original(finder: Predictor, tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("L", (8000, 16), 9).save(path)
    one = finder.predict(path)
    assert (one.path, one.width, one.height) == (str(path), 8000, 16)
    assert one.faces[1].box == (4000, 8, 4000, 8)


def test_eight_threads_get_the_answers_of_one(finder: Predictor, drawn: Faces) -> None:
    def job(number: int) -> list[Prediction]:
        return finder.predict([quartered(drawn, (number + i) % 40) for i in range(8)])

    alone = [job(number) for number in range(40)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(job, range(40))) == alone


def test_below_the_asked_confidence_a_face_is_uncertain(tiny_run: Run, drawn: Faces) -> None:
    free = Predictor(tiny_run.out, threads=1).crops([drawn.images[0]])[0].faces[0]
    for threshold, emotion in ((free.confidence, free.emotion), (min(1.0, free.confidence + 1e-6), UNCERTAIN)):
        strict = Predictor(tiny_run.out, threads=1, min_confidence=threshold)
        face = strict.crops([drawn.images[0]])[0].faces[0]
        assert (face.emotion, face.confidence) == (emotion, free.confidence)
        assert face.probabilities == free.probabilities
        assert face.to_dict()["emotion"] == emotion


@pytest.mark.parametrize(
    "setting", [{"min_confidence": 1.1}, {"min_confidence": -0.1}, {"batch": 0}, {"max_pixels": 0}]
)
def test_settings_that_make_no_sense_are_refused(tiny_run: Run, setting: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"min_confidence is|at least 1"):
        Predictor(tiny_run.out, **setting)  # type: ignore[arg-type]


def test_rows_lose_no_image_and_have_equal_columns() -> None:
    face = Face((1, 2, 3, 4), EVEN, 0.5)
    found = [
        Prediction("bad.png", error="cut"), Prediction("two.png", 9, 8, (face, face)), Prediction("none.png", 9, 8)
    ]  # fmt: skip
    rows = to_rows(found)
    assert len({tuple(row) for row in rows}) == 1
    assert [(row["path"], row["face"], row["error"]) for row in rows] == [
        ("bad.png", None, "cut"), ("two.png", 0, None), ("two.png", 1, None), ("none.png", None, None)
    ]  # fmt: skip
    assert rows[1]["x"] == 1
    assert rows[1]["box_height"] == 4
    assert (rows[1]["emotion"], rows[1]["Sad"], rows[0]["Sad"]) == ("Angry", 1 / 7, None)
    assert to_rows([]) == []


def test_results_that_contradict_themselves_are_refused() -> None:
    face = Face((1, 2, 3, 4), EVEN)
    for wrong in ({"error": "cut", "faces": (face,)}, {"width": 3}, {}):
        with pytest.raises(ValueError, match="an image that"):
            Prediction("a.png", **wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a box is"):
        Face((1, 2, 0, 4), EVEN)
    with pytest.raises(ValueError, match="a detection's confidence"):
        Face((1, 2, 3, 4), EVEN, 1.01)


def test_predictions_read_well() -> None:
    face = Face((1, 2, 3, 4), EVEN, min_confidence=0.2)
    assert repr(Prediction("a.png", 9, 8, (face,))) == "Prediction(a.png, 9x8: uncertain 14.3%)"
    assert repr(Prediction("a.png", 9, 8)) == "Prediction(a.png, 9x8: no face)"
    assert repr(Prediction("a.png", error="cut")) == "Prediction(a.png: cut)"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("no/such/file.png", r"no/such/file\.png: No such file or directory"),
        (b"no image", "not a readable image"),
        (7, "a int is no image"),
        ("http://localhost/photo.jpg", "nothing is downloaded unless allowed"),
    ],
)
def test_one_image_that_cannot_be_read_is_an_error(finder: Predictor, source: Any, reason: str) -> None:
    """It used to be a prediction without faces; only in a list is it one."""
    with pytest.raises(ImageError, match=reason):
        finder.predict(source)
    (one,) = finder.predict([source])
    assert one.error is not None


def test_an_array_of_images_is_a_list_of_them(finder: Predictor, drawn: Faces) -> None:
    torch = pytest.importorskip("torch")
    images = np.repeat(np.stack([quartered(drawn, number) for number in range(3)])[..., None], 3, -1)
    expected = finder.predict(list(images))
    assert finder.predict(images) == expected
    assert finder.predict(torch.from_numpy(images.transpose(0, 3, 1, 2).copy())) == expected


class Beyond:
    """A detector whose boxes reach beyond the image on every side."""

    framing: Framing | None = None

    def __call__(self, image: NDArray[np.uint8]) -> list[Detection]:
        height, width = image.shape[:2]
        boxes = [(-7.2, -3.0, 30, 30), (width - 20, height - 20, 25.4, 40), (-9, 10, 5, 5), (width + 3, 2, 9, 9)]
        return [Detection(box, 0.9) for box in boxes]


@pytest.mark.parametrize("size", [(96, 90), (3000, 2600)])
def test_boxes_lie_within_the_image(tiny_run: Run, size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    for face in Predictor(tiny_run.out, threads=1, detector=Beyond()).predict(image).faces:
        left, top, width, height = face.box
        assert left >= 0
        assert top >= 0
        assert image[top : top + height, left : left + width].shape == (height, width, 3)
        assert width * height > 0


def test_a_turned_tiff_is_turned_once(tmp_path: Path) -> None:
    """A scanned photo with orientation 6 used to be turned twice: 600x512 and another answer."""
    with Image.open(get_sample_data("grace_hopper.jpg", asfileobj=False)) as photo:
        photo.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "o6.tif", tiffinfo={274: 6})
    found = Predictor(threads=1).predict(tmp_path / "o6.tif")
    assert str(found).endswith("o6.tif, 512x600: Neutral 77.1%)")


def test_predict_is_one_line_over_a_shared_predictor(tmp_path: Path) -> None:
    photo = get_sample_data("grace_hopper.jpg", asfileobj=False)
    one, (two,) = mien.predict(photo), mien.predict([photo])
    assert one == two == mien.Predictor().predict(photo)
    assert _default() is _default()
    with pytest.raises(ImageError, match="No such file"):
        mien.predict(tmp_path / "gone.jpg")


def test_predictions_show_themselves_in_a_notebook(finder: Predictor, drawn: Faces, tmp_path: Path) -> None:
    """From a path, from an array, and where the image is gone or could not be read."""
    path = tmp_path / "<b>.png"
    Image.fromarray(quartered(drawn, 0)).save(path)
    for one in (finder.predict(path), finder.predict(quartered(drawn, 0))):
        page = one._repr_html_()
        assert page.count("<img ") == 1
        assert page.count("<table>") == 2
        assert page.count("data:image/jpeg;base64,") == 1
    shown = finder.predict(path)
    path.unlink()
    assert "<img" not in replace(shown, source=None)._repr_html_()
    assert "&lt;b&gt;.png" in shown._repr_html_()
    (failed,) = finder.predict([b"no image"])
    assert "not a readable image" in failed._repr_html_()
    assert pickle.loads(pickle.dumps(finder.predict(quartered(drawn, 0)))).source is None


def test_predictions_become_a_table(finder: Predictor, drawn: Faces) -> None:
    pytest.importorskip("pandas")
    found = finder.predict([quartered(drawn, 0), np.zeros((9, 9, 3), np.uint8)])
    table = mien.to_dataframe(found)
    assert table.to_dict("records")[0]["emotion"] == found[0].faces[0].emotion
    assert (len(table), list(table.columns)) == (3, list(mien.to_rows(found)[0]))
    assert len(mien.to_dataframe(found[0])) == 2


def test_without_pandas_the_extra_is_named(finder: Predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(MissingExtraError, match=r"mien\[dataframe\]"):
        mien.to_dataframe([])
