"""The drawn faces: equal for equal arguments, distinguished by the expression and by nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from mien.data.faces import Faces
from mien.data.synthetic import draw_face, draw_faces
from mien.emotions import Emotion

BORDER = np.ones((48, 48), dtype=bool)
BORDER[3:-3, 3:-3] = False
CHANCE = 0.15


@pytest.fixture(scope="module")
def drawn() -> Faces:
    return draw_faces(1500, seed=11)


def linear_accuracy(features: NDArray[np.float64], faces: Faces) -> float:
    """Test accuracy of a logistic regression, trained on two thirds of the faces."""
    train = np.arange(len(faces)) % 3 != 0
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-3, max_iter=300))
    model.fit(features[train], faces.emotion[train])
    return float(model.score(features[~train], faces.emotion[~train]))


def test_splits_and_classes(drawn: Faces) -> None:
    assert drawn.name == "drawn faces"
    assert drawn.splits() == {"Training": 1200, "PublicTest": 150, "PrivateTest": 150}
    assert drawn.row.tolist() == list(range(1500))
    counts = drawn.select("Training").label_counts()
    assert counts.pop("Disgust") == 120
    assert set(counts.values()) == {180}


def test_seventy_faces_have_every_class_in_every_split() -> None:
    faces = draw_faces(70, seed=3)
    assert all(min(faces.select(split).label_counts().values()) >= 1 for split in faces.splits())


def test_equal_arguments_draw_equal_faces() -> None:
    assert draw_faces(40, seed=5).fingerprint == draw_faces(40, seed=5).fingerprint
    assert draw_faces(40, seed=5).fingerprint != draw_faces(40, seed=6).fingerprint


def test_no_face_is_in_two_splits(drawn: Faces) -> None:
    assert len({image.tobytes() for image in drawn.images}) == len(drawn)
    assert drawn.select("test").clean(drawn.select("Training")).all()


def test_no_face_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="n must be at least 1"):
        draw_faces(0)


def test_pictures_are_neither_blank_nor_blown_out(drawn: Faces) -> None:
    spread = drawn.images.reshape(len(drawn), -1).std(axis=1)
    blown = ((drawn.images == 0) | (drawn.images == 255)).mean()
    assert spread.min() > 6
    assert blown < 0.05


@pytest.mark.parametrize("seed", range(20))
def test_the_emotion_changes_the_middle_of_the_face_only(seed: int) -> None:
    """Person, pose and photograph are the same whatever the class: the top and side edges are equal, pixel for pixel.

    (At the bottom edge, a wide open mouth may show in a large face.)
    """
    faces = [draw_face(emotion, np.random.default_rng(seed)) for emotion in Emotion]
    edges = {face[:2].tobytes() + face[:36, :2].tobytes() + face[:36, -2:].tobytes() for face in faces}
    assert len({face.tobytes() for face in faces}) == len(Emotion)
    assert len(edges) == 1


def test_border_and_brightness_do_not_give_the_class_away(drawn: Faces) -> None:
    pixels = drawn.images / 255.0
    brightness = np.stack([pixels.mean(axis=(1, 2)), pixels.std(axis=(1, 2))], axis=1)
    assert linear_accuracy(pixels[:, BORDER], drawn) < CHANCE + 0.06
    assert linear_accuracy(brightness, drawn) < CHANCE + 0.06


def test_raw_pixels_tell_a_linear_model_much_but_not_all(drawn: Faces) -> None:
    """A linear model far above chance shows that there is something to learn; near 100 % it would show a trick."""
    pixels = drawn.images.reshape(len(drawn), -1) / 255.0
    assert 0.45 < linear_accuracy(pixels[:, ::2], drawn) < 0.80
