"""What stands behind the page: answers computed once, filters, counts, uploads, and text that cannot become markup."""

from __future__ import annotations

import base64
import subprocess
import sys
import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mien.data import Faces
from mien.emotions import Output
from mien.errors import DataError, ImageError
from mien.evaluation import evaluate
from mien.inference import Predictor
from mien.inference.writers import csv_writer
from mien.models.spec import Head
from mien.serving.page.data import Filters, Store
from mien.serving.page.html import gallery
from mien.serving.page.predict import Upload, read_uploads, show, to_csv
from mien.training import Run


@pytest.fixture(scope="module")
def short(tiny_run: Run) -> Predictor:
    return Predictor(tiny_run.bundle, threads=1, detector="none")


def test_answers_are_computed_once_though_many_ask(
    short: Predictor, drawn: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, asked = Store({"short": short}, drawn), []
    answer = store._answer

    def counted(*arguments: Any) -> dict[Head, np.ndarray]:
        asked.append(arguments)
        return answer(*arguments)

    monkeypatch.setattr(store, "_answer", counted)
    found: list[np.ndarray] = []
    ask = lambda: found.append(store.answers("short", "Training", Output.DEFAULT))  # noqa: E731
    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked) == 1
    assert len(found) == 8
    assert all(one is found[0] for one in found)


def test_one_face_is_answered_alike_before_and_after_its_split(short: Predictor, drawn: Faces) -> None:
    store = Store({"short": short}, drawn)
    first = store.answer("short", "PublicTest", 7, Output.DEFAULT)
    told: list[float] = []
    every = store.answers("short", "PublicTest", Output.DEFAULT, told.append)
    assert told == [1.0]
    np.testing.assert_allclose(first, every[7], atol=1e-6)
    np.testing.assert_array_equal(store.answer("short", "PublicTest", 7, Output.DEFAULT), every[7])


def test_a_failure_is_told_and_not_kept(short: Predictor, drawn: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store({"short": short}, drawn)
    with pytest.raises(DataError, match="there is no split 'x'"):
        store.split("x")
    monkeypatch.setattr("mien.serving.page.data._split", lambda data, name: f"{data.name} {name}")
    assert store.split("x") == "drawn faces x"


def test_other_classes_than_the_models_are_refused(short: Predictor, drawn: Faces) -> None:
    from dataclasses import replace

    other = replace(drawn, labels=tuple("abcdefg"))
    with pytest.raises(DataError, match="its classes are not those of the model short"):
        Store({"short": short}, other).answers("short", "PublicTest", Output.DEFAULT)


def test_counts_and_accuracies_are_those_of_evaluate(short: Predictor, drawn: Faces) -> None:
    store, evaluated = Store({"short": short}, drawn), evaluate(short.bundle, drawn, "PublicTest")
    split, answers = store.split("PublicTest"), store.answers("short", "PublicTest", Output.DEFAULT)
    np.testing.assert_array_equal(split.confusion(answers), evaluated.figures["confusion"])
    clean = evaluated.figures["clean"]
    assert split.accuracy(answers) == (evaluated.accuracy, clean["accuracy"] if clean else None)


@given(
    true=st.none() | st.integers(0, 6),
    predicted=st.none() | st.integers(0, 6),
    wrong=st.booleans(),
    ends=st.tuples(st.floats(0, 1), st.floats(0, 1)),
    leaked=st.none() | st.booleans(),
    suspect=st.none() | st.booleans(),
)
def test_filters_choose_as_a_loop_would(
    some_faces: Faces,
    true: int | None,
    predicted: int | None,
    wrong: bool,
    ends: tuple[float, float],
    leaked: bool | None,
    suspect: bool | None,
) -> None:
    from mien.serving.page.data import Split

    faces = some_faces.select("PublicTest")
    n = len(faces)
    rng = np.random.default_rng(3)
    rows, stands = rng.dirichlet(np.ones(7), n), rng.random(n) < 0.5
    split = Split("PublicTest", faces, stands, {0: "Sad", 3: "fear", 8: "Happy"})
    low, high = sorted(ends)
    wanted = []
    for face in range(n):
        said, sure = int(rows[face].argmax()), float(rows[face].max())
        label = int(faces.emotion[face])
        good = true is None or label == true
        good &= predicted is None or said == predicted
        good &= not wrong or said != label
        good &= low - 1e-9 <= sure <= high + 1e-9
        good &= leaked is None or bool(stands[face]) == leaked
        good &= suspect is None or (face in (0, 3, 8)) == suspect
        if good:
            wanted.append(face)
    filters = Filters(true, predicted, wrong, low, high, leaked, suspect)
    assert split.matches(rows, filters).tolist() == wanted


def message(*pictures: tuple[str, bytes]) -> dict[str, Any]:
    return {"images": [{"name": name, "data": base64.b64encode(data).decode()} for name, data in pictures]}


@settings(max_examples=30)
@given(st.lists(st.tuples(st.text(max_size=200), st.binary(max_size=50)), min_size=1, max_size=5))
def test_uploads_come_back_as_they_were(pictures: list[tuple[str, bytes]]) -> None:
    assert read_uploads(message(*pictures)) == [Upload(name, data) for name, data in pictures]


@settings(max_examples=50)
@given(
    st.recursive(
        st.none() | st.integers() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["images", "name", "data"]), inner),
        max_leaves=8,
    )
)
def test_other_messages_are_refused_or_read(found: Any) -> None:
    try:
        assert all(isinstance(one, Upload) for one in read_uploads(found))
    except ImageError as error:
        mended = error.mend
    else:
        mended = "read"
    assert mended


def test_too_many_and_too_large_uploads_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageError, match="there are 21 images"):
        read_uploads(message(*[("a", b"1")] * 21))
    monkeypatch.setattr("mien.serving.page.predict.MOST_BYTES", 1000)
    with pytest.raises(ImageError, match="the images are larger than"):
        read_uploads(message(("a", bytes(1500)), ("b", bytes(1500))))


def test_a_files_name_cannot_become_markup(short: Predictor) -> None:
    name = "<img src=x onerror=alert(1)>\"'.png"
    page = show(short, [Upload(name, b"no picture"), Upload(name, png())], crops=True, least=0.0)
    assert "<img src=x" not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;&quot;&#x27;.png") == 4


def png() -> bytes:
    import cv2

    return cv2.imencode(".png", np.arange(48 * 48, dtype=np.uint8).reshape(48, 48))[1].tobytes()


def test_below_the_asked_probability_a_face_is_uncertain(short: Predictor) -> None:
    assert "<b>uncertain</b>" in show(short, [Upload("a.png", png())], crops=True, least=1.0)
    assert "<b>uncertain</b>" not in show(short, [Upload("a.png", png())], crops=True, least=0.0)


def test_the_csv_is_that_of_the_command(short: Predictor, tmp_path: Any) -> None:
    found = short.predict([png(), b"torn"])
    with csv_writer(tmp_path / "a.csv", short.labels) as sink:
        for one in found:
            sink(one)
    assert to_csv(found, short.labels).encode() == (tmp_path / "a.csv").read_bytes()


@pytest.mark.parametrize(("asked", "shown"), [(-5, 1), (0, 1), (1, 2), (99, 2)])
def test_a_page_that_is_not_there_is_the_nearest(some_faces: Faces, asked: int, shown: int) -> None:
    images = np.concatenate([some_faces.images] * 2)
    page = gallery(images, np.arange(84), asked, 0, lambda number: (f"Face {number}", False))
    assert f"Page {shown} of 2" in page
    assert page.count("mien-thumb") == 1 + (60 if shown == 1 else 24)


WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
import numpy as np
import mien.serving.page.app
from mien.data.synthetic import draw_faces
from mien.models.load import load_bundle
from mien.inference import Predictor
from mien.serving.page.gradcam import gradcam_image
assert not {"matplotlib", "sklearn", "lightning"} & set(sys.modules), sys.modules.keys()
tiny = Predictor("tiny")
faces = draw_faces(30, seed=1)
mien.serving.page.app.build_page({"tiny": tiny}, faces)
print(gradcam_image(tiny.bundle, faces.images[0], 3, "Happy"))
"""


def test_without_torch_the_page_is_there_and_grad_cam_says_why_not() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH], capture_output=True, text=True, check=False, timeout=120
    )
    assert ran.returncode == 0, ran.stderr
    assert "Grad-CAM cannot be shown: this needs the package torch" in ran.stdout
    assert "pip install" in ran.stdout
