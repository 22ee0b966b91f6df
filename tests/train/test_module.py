"""Loss, class weights and optimizers, in Keras' sense of each."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mien.model.networks import build, set_trainable
from mien.model.spec import CnnSpec, MobileNetSpec
from mien.train.module import Classifier, Meter, class_weights, weighted_cross_entropy
from mien.train.recipe import Optimizer

COUNTS = [3995, 436, 4097, 7215, 4830, 3171, 4965]
"""FER2013's training labels, class by class."""


def test_the_articles_class_weights_are_shares() -> None:
    labels = torch.repeat_interleave(torch.arange(7), torch.tensor(COUNTS))
    assert len(labels) == 28_709
    shares = [0.13915, 0.01519, 0.14271, 0.25131, 0.16824, 0.11045, 0.17294]
    found = class_weights(labels, 7, "share")
    assert found.tolist() == pytest.approx(shares, abs=5.1e-6)
    assert float(found.sum()) == pytest.approx(1)


def test_inverse_weights_balance_and_none_does_nothing() -> None:
    labels = torch.tensor([0, 0, 0, 1, 3, 3])
    inverse = class_weights(labels, 4, "inverse")
    assert inverse.tolist() == pytest.approx([0.5, 1.5, 0.0, 0.75])
    assert float((inverse[labels]).sum()) == pytest.approx(6 * 3 / 4)
    assert class_weights(labels, 4, "none").tolist() == [1, 1, 1, 1]


def test_the_loss_is_keras_weighted_mean_and_not_torchs() -> None:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(9, 7)), np.array([0, 1, 2, 3, 4, 5, 6, 3, 3])
    weights = np.array(COUNTS) / sum(COUNTS)
    total = 0.0
    for row, label in zip(logits, labels, strict=True):
        total += weights[label] * -math.log(math.exp(row[label]) / sum(math.exp(value) for value in row))
    arguments = torch.tensor(logits), torch.tensor(labels), torch.tensor(weights)
    found = float(weighted_cross_entropy(*arguments))
    assert found == pytest.approx(total / 9, rel=1e-12)
    assert found < 0.5 * float(F.cross_entropy(arguments[0], arguments[1], weight=arguments[2]))


def test_the_meter_weighs_batches_by_their_size() -> None:
    meter = Meter()
    assert math.isnan(meter.result()["loss"])
    right, wrong = torch.tensor([[2.0, 1.0]]), torch.tensor([[1.0, 2.0]])
    meter.update(torch.tensor(1.0), right.repeat(3, 1), torch.zeros(3, dtype=torch.long))
    meter.update(torch.tensor(5.0), wrong, torch.zeros(1, dtype=torch.long))
    assert meter.result() == {"loss": 2.0, "accuracy": 0.75}


def steps(optimizer: Optimizer, gradients: list[float]) -> list[float]:
    """The values of one number that starts at 1 and meets these gradients."""
    module = Classifier(build(CnnSpec()), optimizer, torch.ones(7))
    parameter = module.network.head.bias
    with torch.no_grad():
        parameter.fill_(1.0)
    made = module.configure_optimizers()
    values = []
    for gradient in gradients:
        for other in module.parameters():
            other.grad = torch.zeros_like(other)
        parameter.grad = torch.full_like(parameter, gradient)
        made.step()
        values.append(float(parameter.detach()[0]))
    return values


GRADIENTS = [2e-6, -1e-6, 3e-6]
"""As small as that, to tell an epsilon of 1e-7 from one of 1e-8."""


def adam(rate: float, epsilon: float) -> list[float]:
    value, mean, square, values = 1.0, 0.0, 0.0, []
    for step, gradient in enumerate(GRADIENTS, start=1):
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        value -= rate * (mean / (1 - 0.9**step)) / (math.sqrt(square / (1 - 0.999**step)) + epsilon)
        values.append(value)
    return values


def nadam(rate: float, epsilon: float) -> list[float]:
    value, mean, square, product, values = 1.0, 0.0, 0.0, 1.0, []
    for step, gradient in enumerate(GRADIENTS, start=1):
        now, after = (0.9 * (1 - 0.5 * 0.96 ** (0.004 * t)) for t in (step, step + 1))
        product *= now
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        root = math.sqrt(square / (1 - 0.999**step)) + epsilon
        value -= rate * ((1 - now) / (1 - product) * gradient + after / (1 - product * after) * mean) / root
        values.append(value)
    return values


def sgd(rate: float, epsilon: float) -> list[float]:
    value, speed, values = 1.0, 0.0, []
    for gradient in GRADIENTS:
        speed = 0.9 * speed - rate * gradient
        value += speed
        values.append(value)
    return values


@pytest.mark.parametrize(("name", "by_hand", "rate"), [("adam", adam, 0.01), ("nadam", nadam, 0.01), ("sgd", sgd, 1e4)])
def test_the_first_steps_by_hand(name: str, by_hand: Callable[[float, float], list[float]], rate: float) -> None:
    found = steps(Optimizer(name=name, lr=rate), GRADIENTS)  # type: ignore[arg-type]
    assert found == pytest.approx(by_hand(rate, 1e-7), abs=3e-7)
    if name != "sgd":
        assert found != pytest.approx(by_hand(rate, 1e-8), abs=3e-5)


def test_only_what_trains_reaches_the_optimizer() -> None:
    network = build(MobileNetSpec(cut=2))
    set_trainable(network, "head")
    made = Classifier(network, Optimizer(name="adam", lr=1), torch.ones(7)).configure_optimizers()
    assert [p.numel() for group in made.param_groups for p in group["params"]] == [128 * 7, 7]
