"""The faces of a report: which are chosen, and that unpacking restores what was packed."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mien.data import Faces
from mien.evaluation.gradcam import Attribution, Layer
from mien.evaluation.report.faces import COLUMNS, Gallery, choose, lists, sprite_sheet


@given(st.integers(1, 300), st.integers(2, 8), st.integers(1, 250), st.integers(0, 99))
def test_of_too_many_faces_each_cell_keeps_its_most_confident(n: int, classes: int, most: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probabilities, labels = rng.dirichlet(np.ones(classes), n), rng.integers(0, classes, n)
    chosen = choose(labels, probabilities, most)
    assert len(chosen) <= most or len(chosen) == 0
    assert (np.diff(chosen) > 0).all()
    if n <= most:
        assert len(chosen) == n
        return
    kept: dict[tuple[int, int], list[float]] = {}
    left: dict[tuple[int, int], list[float]] = {}
    for face in range(n):
        cell = (int(labels[face]), int(probabilities[face].argmax()))
        (kept if face in chosen else left).setdefault(cell, []).append(float(probabilities[face].max()))
    cap = max((len(faces) for faces in kept.values()), default=0)
    for cell, faces in left.items():
        assert len(kept.get(cell, [])) == cap
        assert not kept.get(cell) or min(kept[cell]) >= max(faces)


def test_the_sprite_sheet_holds_every_face_in_its_place(drawn: Faces) -> None:
    whole = np.asarray(Image.open(io.BytesIO(sprite_sheet(drawn.images))).convert("L"))
    assert whole.shape == (3 * 48, COLUMNS * 48)
    for number, image in enumerate(drawn.images):
        row, column = divmod(number, COLUMNS)
        cell = whole[row * 48 : row * 48 + 48, column * 48 : column * 48 + 48]
        assert np.abs(cell.astype(int) - image).mean() < 6


def unpacked(text: str, kind: str) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    return np.frombuffer(base64.b64decode(text), kind)


def test_packed_arrays_can_be_unpacked(some_faces: Faces) -> None:
    rng = np.random.default_rng(2)
    probabilities, maps = rng.dirichlet(np.ones(7), 42), rng.random((42, 3, 4), np.float32)
    found = Gallery(some_faces, probabilities, Attribution(maps, Layer("x", (3, 4), (1, 1), 15, 16))).to_dict()
    assert unpacked(found["true"], "<u1").tolist() == some_faces.emotion.tolist()
    assert unpacked(found["predicted"], "<u1").tolist() == probabilities.argmax(1).tolist()
    read = unpacked(found["probabilities"], "<u2").reshape(42, 7).astype(float) / 10_000
    assert np.abs(read - probabilities).max() <= 0.5e-4
    assert some_faces.votes is not None
    assert unpacked(found["votes"], "<u1").tolist() == some_faces.votes.ravel().tolist()
    shares = unpacked(found["cam"]["maps"], "<u1").reshape(42, 3, 4).astype(float) / 255
    assert np.abs(shares - maps / maps.max((1, 2), keepdims=True)).max() <= 0.5 / 255 + 1e-6
    assert (found["cam"]["height"], found["cam"]["width"], found["cam"]["step"]) == (3, 4, 16)
    assert Gallery(replace(some_faces, votes=None), probabilities, "no layer").to_dict()["cam"] is None
    assert Gallery(replace(some_faces, votes=None), probabilities, "no layer").to_dict()["votes"] is None


def test_lists_of_faces_by_hand() -> None:
    labels = np.array([0, 0, 0, 1, 1, 2])
    predicted = np.array([0, 1, 1, 1, 0, 1])
    sure = np.array([0.9, 0.6, 0.8, 0.7, 0.5, 0.95])
    probabilities = np.full((6, 3), 0.0)
    probabilities[np.arange(6), predicted] = sure
    probabilities[np.arange(6), (predicted + 1) % 3] += 1 - sure
    found = lists(labels, probabilities, {"by_votes": np.array([5, 4, 0]), "by_model": np.array([2])})
    assert found.faces["errors"].tolist() == [5, 2, 1, 4]
    assert [(p["true"], p["predicted"], p["count"], p["faces"].tolist()) for p in found.pairs] == [
        (0, 1, 2, [2, 1]),
        (1, 0, 1, [4]),
        (2, 1, 1, [5]),
    ]
    assert found.faces["by_votes"].tolist() == [5, 4, 0]
    assert found.faces["by_model"].tolist() == [2]
    inside = found.within(np.array([0, 1, 2, 4, 5]))
    assert inside["errors"] == [4, 2, 1, 3]
    assert inside["pairs"][0]["faces"] == [2, 1]
    assert inside["by_model"] == [2]
    none = np.zeros(0, np.int64)
    assert lists(labels[:1], probabilities[:1], {"by_votes": none}).all.tolist() == []
