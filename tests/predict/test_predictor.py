"""Prediction: images in, one answer each, bad files told apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from mien.data import Faces
from mien.emotions import LABELS
from mien.errors import ModelError
from mien.model.session import Session
from mien.model.spec import Head
from mien.predict import Face, Prediction, Predictor

if TYPE_CHECKING:
    from mien.train import Run

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
    }
    assert repr(face) == "Face(Angry 14.3%, box=(1, 2, 3, 4))"


@pytest.mark.parametrize("change", [{"Angry": 0.5}, {"Angry": -0.1, "Sad": 0.1 + 2 / 7}, {"Fear": float("nan")}])
def test_probabilities_that_are_none_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="probabilities must be at least 0 and sum to 1"):
        Face((0, 0, 1, 1), EVEN | change)


def test_no_model_is_an_error_of_models(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such model"):
        Predictor(tmp_path / "none.mien")
