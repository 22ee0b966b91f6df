"""Loss, class weights and optimizers, in Keras' sense of each."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mien.models.networks.build import build, set_trainable
from mien.models.spec import CnnSpec, Head, MobileNetSpec
from mien.training.loader import Batch
from mien.training.module import Classifier, Loss, Meter, class_weights, votes_cross_entropy, weighted_cross_entropy
from mien.training.recipe import OneCycle, Optimizer, Phase

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


def test_effective_weights_lie_between_none_and_inverse() -> None:
    labels = torch.tensor([0] * 4000 + [1] * 100 + [3] * 2)
    found = class_weights(labels, 4, "effective")
    by_hand = [0.001 / (1 - 0.999**n) for n in (4000, 100, 2)]
    assert found.tolist() == pytest.approx([4 * w / sum(by_hand) for w in [*by_hand[:2], 0.0, by_hand[2]]], rel=1e-3)
    assert found.sum() == pytest.approx(4)
    inverse = class_weights(labels, 4, "inverse")
    assert 1 < found[1] / found[0] < inverse[1] / inverse[0]


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


def test_smoothing_spreads_a_part_of_the_label() -> None:
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(5, 4)), np.array([0, 1, 2, 3, 3])
    shares = np.log(np.exp(logits) / np.exp(logits).sum(1, keepdims=True))
    targets = 0.9 * np.eye(4)[labels] + 0.1 / 4
    found = weighted_cross_entropy(torch.tensor(logits), torch.tensor(labels), torch.ones(4).double(), 0.1)
    assert float(found) == pytest.approx(-(targets * shares).sum(1).mean(), rel=1e-12)


def test_votes_count_by_their_share() -> None:
    """The second face has half of its votes elsewhere, the third all."""
    logits = np.random.default_rng(2).normal(size=(3, 3))
    shares = np.array([[0.7, 0.2, 0.1], [0.0, 0.5, 0.0], [0.0, 0.0, 0.0]])
    total = 0.0
    for row, votes in zip(logits, shares, strict=True):
        total -= sum(vote * (value - math.log(np.exp(row).sum())) for vote, value in zip(votes, row, strict=True))
    assert float(votes_cross_entropy(torch.tensor(logits), torch.tensor(shares))) == pytest.approx(total / 3)


def test_two_heads_learn_from_labels_and_votes() -> None:
    torch.manual_seed(0)
    network = build(MobileNetSpec(cut=1, votes=True))
    images, labels, shares = torch.rand(4, 1, 48, 48), torch.tensor([0, 1, 2, 3]), torch.rand(4, 7) / 7
    logits, loss = Loss(torch.ones(7), votes=0.25)(network, Batch(images, labels, shares))
    alone, without = Loss(torch.ones(7))(network, Batch(images, labels))
    assert torch.equal(logits, alone)
    seen = network.every(images)[Head.VOTES]
    assert float(loss) == pytest.approx(float(without) + 0.25 * float(votes_cross_entropy(seen, shares)))
    loss.backward()
    assert network.votes.weight.grad.abs().max() > 0  # type: ignore[union-attr]


def test_the_cycle_climbs_to_its_peak_and_falls_to_zero() -> None:
    cycle = OneCycle(warmup=0.2, start=0.1)
    found = [cycle.factor(step, 100) for step in range(100)]
    assert found[0] == pytest.approx(0.1)
    assert found[10] == pytest.approx(0.55)
    assert found[20] == 1.0 == max(found)
    assert found[60] == pytest.approx(0.5)
    assert all(one < other for one, other in itertools.pairwise(found[:21]))
    assert all(one > other for one, other in itertools.pairwise(found[20:]))
    assert 0 < found[-1] < 1e-3
    assert OneCycle(warmup=0).factor(0, 10) == 1.0


def test_only_kernels_and_matrices_decay() -> None:
    network = build(MobileNetSpec(cut=1))
    optimizer = phase(Optimizer(name="adamw", lr=0.1, weight_decay=0.5))
    made = Classifier(network, optimizer, Loss(torch.ones(7))).configure_optimizers()
    before = {name: tensor.clone() for name, tensor in network.named_parameters()}
    for tensor in network.parameters():
        tensor.grad = torch.zeros_like(tensor)
    made.step()
    for name, tensor in network.named_parameters():
        factor = 0.95 if tensor.ndim > 1 else 1.0
        assert torch.allclose(tensor, before[name] * factor), name


def test_the_meter_weighs_batches_by_their_size() -> None:
    meter = Meter()
    assert math.isnan(meter.result()["loss"])
    right, wrong = torch.tensor([[2.0, 1.0]]), torch.tensor([[1.0, 2.0]])
    meter.update(torch.tensor(1.0), right.repeat(3, 1), torch.zeros(3, dtype=torch.long))
    meter.update(torch.tensor(5.0), wrong, torch.zeros(1, dtype=torch.long))
    assert meter.result() == {"loss": 2.0, "accuracy": 0.75}


def phase(optimizer: Optimizer, **more: object) -> Phase:
    return Phase.model_validate({"name": "all", "train": "all", "optimizer": optimizer, "epochs": 1, **more})


def steps(optimizer: Optimizer, gradients: list[float]) -> list[float]:
    """The values of one number that starts at 1 and meets these gradients."""
    module = Classifier(build(CnnSpec()), phase(optimizer), Loss(torch.ones(7)))
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
    made = Classifier(network, phase(Optimizer(name="adam", lr=1)), Loss(torch.ones(7))).configure_optimizers()
    assert [p.numel() for group in made.param_groups for p in group["params"]] == [128 * 7, 7]
