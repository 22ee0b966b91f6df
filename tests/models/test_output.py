"""The outputs of a model with two heads, and other shares of the classes, against the definition."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mien.emotions import LABELS, Output
from mien.errors import ModelError
from mien.models.bundle import Answer, Bundle, Calibration, read_bundle, save_bundle
from mien.models.onnx.session import softmax
from mien.models.output import with_output
from mien.models.spec import Head, MobileNetSpec
from support.bundles import small_bundle

FER2013 = (0.14, 0.02, 0.14, 0.25, 0.17, 0.11, 0.17)
FERPLUS = (0.08, 0.02, 0.04, 0.27, 0.15, 0.12, 0.32)
DEFAULT = (0.16, 0.02, 0.08, 0.22, 0.14, 0.18, 0.20)
HEADS = (Head.LABELS, Head.VOTES)


@pytest.fixture
def bundle() -> Bundle:
    """A model with two heads, as far as its card goes."""
    one = small_bundle()
    shares = {Output.FER2013: FER2013, Output.FERPLUS: FERPLUS, Output.DEFAULT: DEFAULT}
    answer = Answer(weight=0.3, exponent=0.5, temperature=0.7)
    calibration = Calibration(temperature=1.3, votes_temperature=0.9, answer=answer, shares=shares)
    update = {"network": MobileNetSpec(cut=1, votes=True), "calibration": calibration}
    return replace(one, card=one.card.model_copy(update=update))


@pytest.fixture
def logits() -> dict[Head, Any]:
    rng = np.random.default_rng(0)
    return {head: rng.normal(size=(50, 7)).astype(np.float32) * 3 for head in HEADS}


def shown(bundle: Bundle, logits: dict[Head, Any]) -> Any:
    return softmax(bundle.card.calibration.combine(logits))


def test_the_default_is_the_blend_over_a_power_of_the_prior(bundle: Bundle, logits: dict[Head, Any]) -> None:
    first, second = softmax(logits[Head.LABELS] / 1.3), softmax(logits[Head.VOTES] / 0.9)
    product = first**0.3 * second**0.7 / np.array(FERPLUS) ** 0.5
    expected = product ** (1 / 0.7)
    assert np.allclose(shown(bundle, logits), expected / expected.sum(1, keepdims=True), atol=1e-6)
    assert bundle.card.output == "default: 0.3 FER2013 head + 0.7 FER+ head / prior^0.5"


def test_each_head_alone(bundle: Bundle, logits: dict[Head, Any]) -> None:
    for output, head, temperature in (("fer2013", Head.LABELS, 1.3), ("ferplus", Head.VOTES, 0.9)):
        found = with_output(bundle, output)
        assert np.allclose(shown(found, logits), softmax(logits[head] / temperature), atol=1e-6)
        assert with_output(found).card == found.card
        assert with_output(found, "default").card == bundle.card


@pytest.mark.parametrize(("output", "own"), [("default", DEFAULT), ("fer2013", FER2013), ("ferplus", FERPLUS)])
def test_a_prior_multiplies_by_the_ratio_of_the_shares(
    bundle: Bundle, logits: dict[Head, Any], output: str, own: tuple[float, ...], tmp_path: Path
) -> None:
    shares = dict(zip(LABELS, (4, 0, 1, 2, 1, 1, 1), strict=True))
    (tmp_path / "shares.yaml").write_text(json.dumps(shares))
    before = shown(with_output(bundle, output), logits)
    for prior, target in (
        ("balanced", [1] * 7), ("fer2013", FER2013), (shares, list(shares.values())),
        (tmp_path / "shares.yaml", list(shares.values())), (str(tmp_path / "shares.yaml"), list(shares.values())),
    ):  # fmt: skip
        expected = before * np.array(target) / np.array(own)
        found = shown(with_output(bundle, output, prior), logits)
        assert np.allclose(found, expected / expected.sum(1, keepdims=True), atol=1e-6)
    assert not found[:, 1].any()


def test_what_cannot_be_chosen_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"there is no output 'votes'\. Choose one of default, fer2013, ferplus"):
        with_output(bundle, "votes")
    with pytest.raises(ModelError, match=r"it has no FER\+ head"):
        with_output(small_bundle(), "ferplus")
    with pytest.raises(ModelError, match="does not state its training data's shares"):
        with_output(small_bundle(), "default", "balanced")
    for text, what in (
        ("Happy: 1", "the share of each of Angry, Disgust"), ("[1]", "the share of each"), ("{", "ParserError"),
        (json.dumps(dict.fromkeys(LABELS, 0)), "not all 0"), (json.dumps(dict.fromkeys(LABELS, "x")), "be numbers"),
        (json.dumps(dict.fromkeys(LABELS, -1)), "at least 0"),
    ):  # fmt: skip
        (tmp_path / "shares.yaml").write_text(text)
        with pytest.raises(ModelError, match=what):
            with_output(bundle, "default", tmp_path / "shares.yaml")
    with pytest.raises(ModelError, match="FileNotFoundError"):
        with_output(bundle, "default", "blanced")


def test_the_output_travels_in_the_file(tmp_path: Path) -> None:
    one = small_bundle()
    shares = {Output.FER2013: FER2013, Output.DEFAULT: FER2013}
    calibration = Calibration(temperature=1.3, shares=shares, prior=FERPLUS)
    saved = save_bundle(
        replace(one, card=one.card.model_copy(update={"calibration": calibration})), tmp_path / "x.mien"
    )
    assert saved.path is not None
    assert read_bundle(saved.path).card.calibration == calibration
    short = calibration.model_copy(update={"prior": FERPLUS[:3]})
    spoilt = save_bundle(replace(one, card=one.card.model_copy(update={"calibration": short})), tmp_path / "y.mien")
    assert spoilt.path is not None
    with pytest.raises(ModelError, match="not as many shares as there are labels"):
        read_bundle(spoilt.path)
