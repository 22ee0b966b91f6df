"""Running a bundle: softmax, temperature, batches, threads."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import log_softmax
from scipy.special import softmax as scipy_softmax

from mien.data import Faces
from mien.errors import ModelError
from mien.models.bundle import Bundle, Calibration
from mien.models.onnx.session import Session, softmax
from mien.models.spec import Head

if TYPE_CHECKING:
    from mien.training import Run


@pytest.fixture(scope="module")
def bundle(tiny_run: Run) -> Bundle:
    assert tiny_run.bundle is not None
    return tiny_run.bundle


def warmed(bundle: Bundle, temperature: float) -> Bundle:
    card = bundle.card.model_copy(update={"calibration": Calibration(temperature=temperature)})
    return replace(bundle, card=card)


def test_softmax_is_scipys_even_far_out() -> None:
    logits = np.random.default_rng(0).normal(size=(50, 7)) * np.logspace(-3, 4, 50)[:, None]
    assert softmax(logits) == pytest.approx(scipy_softmax(logits, axis=1), abs=1e-15)
    assert softmax(np.array([[1e6, 0.0], [-1e6, -1e6]], np.float32)).tolist() == [[1.0, 0.0], [0.5, 0.5]]


def test_temperature_divides_the_logits(bundle: Bundle, drawn: Faces) -> None:
    logits = Session(bundle).logits(drawn.images)[Head.LABELS]
    ranks = []
    for temperature in (0.5, 1.0, 3.0):
        found = Session(warmed(bundle, temperature)).probabilities(drawn.images)[Head.LABELS]
        assert found.dtype == np.float64
        assert np.abs(np.log(found) - log_softmax(logits.astype(np.float64) / temperature, axis=1)).max() < 1e-5
        assert np.abs(found.sum(1) - 1).max() < 1e-12
        assert (found.argmax(1) == logits.argmax(1)).all()
        ranks.append(found.max(1))
    assert (ranks[0] > ranks[1]).all()
    assert (ranks[1] > ranks[2]).all()


def test_the_size_of_batches_changes_nothing(bundle: Bundle, drawn: Faces) -> None:
    session = Session(bundle, threads=1)
    whole = session.logits(drawn.images[:23], batch=23)[Head.LABELS]
    for batch in (1, 7, 256):
        assert np.abs(session.logits(drawn.images[:23], batch)[Head.LABELS] - whole).max() < 1e-5
    assert session.logits(drawn.images[:0])[Head.LABELS].shape == (0, 7)
    assert session.probabilities(drawn.images[:0])[Head.LABELS].shape == (0, 7)


@pytest.mark.parametrize("count", [1, 2, 23, 150])
def test_threads_share_out_the_faces_and_keep_their_order(bundle: Bundle, drawn: Faces, count: int) -> None:
    alone, shared_out = Session(bundle, threads=1), Session(bundle, threads=3)
    expected = alone.logits(drawn.images[:count])[Head.LABELS]
    for batch in (4, 16):
        found = shared_out.logits(drawn.images[:count], batch)[Head.LABELS]
        assert np.abs(found - expected).max() < 1e-5
    assert Session(bundle).threads >= 1


def test_one_session_serves_many_threads(bundle: Bundle, drawn: Faces) -> None:
    session = Session(bundle, threads=1)
    parts = [drawn.images[start : start + 5] for start in range(0, 150, 5)] * 4
    alone = [session.probabilities(part)[Head.LABELS] for part in parts]
    with ThreadPoolExecutor(8) as pool:
        together = [answer[Head.LABELS] for answer in pool.map(session.probabilities, parts)]
    assert all(np.array_equal(one, other) for one, other in zip(alone, together, strict=True))


def without_head(bundle: Bundle) -> Bundle:
    return replace(bundle, weights={name: w for name, w in bundle.weights.items() if name != "head.bias"})


def narrow_head(bundle: Bundle) -> Bundle:
    return replace(bundle, weights={**bundle.weights, "head.weight": bundle.weights["head.weight"][:, :5]})


def doubles(bundle: Bundle) -> Bundle:
    wide = bundle.weights["head.weight"].astype(np.float64)
    return replace(bundle, weights={**bundle.weights, "head.weight": wide})  # type: ignore[dict-item]


@pytest.mark.parametrize("spoil", [without_head, narrow_head, doubles, lambda b: replace(b, graph=b.graph[:500])])
def test_parts_that_do_not_fit_are_refused(bundle: Bundle, spoil: object) -> None:
    with pytest.raises(ModelError) as caught:
        Session(spoil(bundle))  # type: ignore[operator]
    assert str(bundle.path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_forked_process_starts_threads_of_its_own(bundle: Bundle, drawn: Faces) -> None:
    session = Session(bundle, threads=2)
    expected = session.logits(drawn.images[:8], batch=2)[Head.LABELS]
    context = multiprocessing.get_context("fork")
    found = context.Queue()
    child = context.Process(target=lambda: found.put(session.logits(drawn.images[:8], batch=2)[Head.LABELS]))
    child.start()
    assert (found.get(timeout=30) == expected).all()
    child.join(30)
    assert child.exitcode == 0
