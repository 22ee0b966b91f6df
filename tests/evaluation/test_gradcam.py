"""Grad-CAM against finite differences, and against networks whose map is known by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mien.data import Faces
from mien.errors import ModelError
from mien.evaluation.gradcam import Attribution, Layer, choose_layer, grad_cam, load_network, network_cam
from mien.models.bundle import Bundle, Card
from mien.models.load import load_bundle
from mien.models.networks.build import Network, build
from mien.models.networks.mobilenet import MobileNet, Pooling
from mien.models.onnx.graph import build_graph
from mien.models.preprocessing import prepare
from mien.models.spec import CnnSpec, CompactSpec, Head, MobileNetSpec, NetworkSpec

if TYPE_CHECKING:
    from mien.training import Run

SPECS: list[NetworkSpec] = [CnnSpec(), MobileNetSpec(cut=4, votes=True), MobileNetSpec(cut=3, channels=3)]
SPECS += [CompactSpec(depth=(1, 1), width=16, votes=True)]


def untrained(spec: NetworkSpec, seed: int = 0) -> Bundle:
    """A network with its first weights, in which the norms keep the activations from fading away."""
    torch.manual_seed(seed)
    state = build(spec).state_dict()
    weights = {name: t.contiguous().numpy() for name, t in state.items() if t.is_floating_point()}
    weights |= {name: np.full_like(w, 4) for name, w in weights.items() if name.endswith("norm.weight")}
    return Bundle(Card(name="untrained", network=spec), weights, build_graph(spec, weights))


def after(network: Network, layer: str, kept: Tensor) -> Tensor:
    """All logits, float64 (B, classes), from a layer's map on: what comes after it, run by hand."""
    names = [name for name, _ in network.features.named_children()]
    x = kept.clone()
    for name in names[names.index(layer) + 1 :]:
        x = network.features.get_submodule(name)(x)
    x = x.mean((2, 3)) if isinstance(network, Pooling) else x
    second = getattr(network, "votes", None)
    return torch.cat([network.head(x), *([second(x)] if second else [])], 1)


def by_finite_differences(
    network: Network, layer: str, x: Tensor, column: int, step: float = 1e-5
) -> NDArray[np.float64]:
    """The map of one face, (H, W): each channel of A is moved up and down in turn, all its places together."""
    kept = x.expand(-1, getattr(network.spec, "channels", 1), -1, -1)
    for name, module in network.features.named_children():
        kept = module(kept.clone())
        if name == layer:
            break
    _, channels, height, width = kept.shape
    summed = np.zeros((height, width))
    for k in range(channels):
        moved = kept.repeat(2, 1, 1, 1)
        moved[0, k] += step
        moved[1, k] -= step
        up, down = after(network, layer, moved)[:, column].tolist()
        summed += (up - down) / (2 * step) / (height * width) * kept[0, k].numpy()
    return np.maximum(summed, 0)


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: f"{spec.name}-{getattr(spec, 'channels', 1)}")
def test_the_map_is_that_of_finite_differences(spec: NetworkSpec) -> None:
    network = load_network(untrained(spec))
    layer = choose_layer(network).name
    network.double()
    x = torch.rand(1, 1, 48, 48, generator=torch.Generator().manual_seed(3)).double()
    checked = 0
    for place, head in enumerate(untrained(spec).card.heads):
        for wanted in (0, 5):
            with torch.no_grad():
                expected = by_finite_differences(network, layer, x, 7 * place + wanted)
            found = network_cam(network, layer, x, np.array([wanted]), {head: 1.0})[0]
            assert np.abs(found - expected).max() < 1e-4 * max(expected.max(), 1e-6)
            checked += int(expected.max() > 0)
    assert checked


def test_a_network_made_by_hand() -> None:
    """One channel sees bright places and speaks for class 1, against class 2; the map is that channel, or nothing."""
    network = MobileNet(MobileNetSpec(cut=1))
    network.features = nn.Sequential()
    network.features.add_module("look", nn.AvgPool2d(16))
    network.head = nn.Linear(1, 7)
    nn.init.zeros_(network.head.bias)
    with torch.no_grad():
        network.head.weight.copy_(torch.tensor([0.0, 9.0, -9.0, 0.0, 0.0, 0.0, 0.0])[:, None])
    x = torch.zeros(3, 1, 48, 48)
    x[:, :, 16:32, 32:48] = 0.5
    found = network_cam(network.eval(), "look", x, np.array([1, 2, 0]), {Head.LABELS: 1.0})
    expected = np.zeros((3, 3), np.float32)
    expected[1, 2] = 0.5 * 9 / 9  # the mean over nine places of the gradient 9 / 9 places is 1
    assert np.allclose(found[0], expected)
    assert not found[1:].any()


@pytest.mark.parametrize(
    ("spec", "layer"),
    [
        (MobileNetSpec(), Layer("conv_pw_11", (3, 3), (1, 1), 15, 16)),
        (MobileNetSpec(stem_stride=1), Layer("conv_pw_12", (3, 3), (3, 3), 15, 16)),
        (MobileNetSpec(cut=3, channels=3), Layer("conv_pw_3", (12, 12), (12, 12), 3, 4)),
        (CnnSpec(), Layer("relu3", (8, 8), (8, 8), 8.5, 4)),
        (CompactSpec(), Layer("last", (6, 6), (6, 6), 7, 8)),
    ],
)
def test_the_layer_is_the_last_that_can_say_where(spec: NetworkSpec, layer: Layer) -> None:
    assert choose_layer(build(spec).eval()) == layer
    assert ("ends in 1x1" in layer.note) is (layer.name == "conv_pw_11")


def test_batches_change_nothing_and_heads_differ(drawn: Faces) -> None:
    bundle = untrained(MobileNetSpec(cut=4, votes=True))
    images, classes = drawn.images[:9], drawn.emotion[:9]
    whole = grad_cam(bundle, images, classes, Head.LABELS)
    assert np.allclose(whole.maps, grad_cam(bundle, images, classes, Head.LABELS, batch=4).maps, atol=1e-6)
    assert not np.allclose(whole.maps, grad_cam(bundle, images, classes, Head.VOTES).maps, atol=1e-6)
    by_votes = grad_cam(bundle, images, classes, Head.VOTES).maps
    assert np.array_equal(
        grad_cam(bundle, images, classes).maps, by_votes
    )  # the default output of a bundle without one
    assert whole.maps.shape == (9, *whole.layer.shape)
    assert grad_cam(bundle, images[:0], classes[:0]).maps.shape == (0, *whole.layer.shape)


def test_a_trained_model_with_its_own_preprocessing(tiny_run: Run, drawn: Faces) -> None:
    bundle = load_bundle(tiny_run.out)
    found = grad_cam(bundle, drawn.images[:5], drawn.emotion[:5])
    network = load_network(bundle)
    x = torch.from_numpy(prepare(drawn.images[:5], bundle.card.preprocessing))
    assert np.allclose(found.maps, network_cam(network, found.layer.name, x, drawn.emotion[:5], {Head.LABELS: 1.0}))
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_what_is_refused(tiny_run: Run, drawn: Faces) -> None:
    bundle = load_bundle(tiny_run.out)
    with pytest.raises(ModelError, match=r"has no head votes\. It has labels"):
        grad_cam(bundle, drawn.images[:1], drawn.emotion[:1], Head.VOTES)
    with pytest.raises(ValueError, match="2 classes for 1 faces"):
        grad_cam(bundle, drawn.images[:1], drawn.emotion[:2])


def test_shares_and_sizes() -> None:
    maps = np.zeros((2, 3, 3), np.float32)
    maps[0, 1, 1], maps[0, 0, 0] = 4, 2
    found = Attribution(maps, Layer("x", (3, 3), (3, 3), start=15, step=16))
    assert found.shares[0].max() == 1
    assert found.shares[0, 0, 0] == 0.5
    assert not found.shares[1].any()
    large = found.enlarged()
    assert large.shape == (2, 48, 48)
    assert (large[0, 31, 31], large[0, 15, 15], large[0, 0, 0], large[0, 47, 47]) == (1, 0.5, 0.5, 0)
    assert large[0, 23, 31] == 0.5
    assert not large[1].any()


@pytest.mark.parametrize("spec", [MobileNetSpec(), MobileNetSpec(stem_stride=1), CompactSpec(), CnnSpec()], ids=str)
def test_places_stand_where_their_receptive_fields_are_centred(spec: NetworkSpec) -> None:
    """In a larger image, the pixels that a place hangs on end equally far from its centre on all sides."""
    network = build(spec).eval()
    layer = choose_layer(network)
    x = torch.ones(1, 1, 320, 320, requires_grad=True)
    kept = x
    for name, module in network.features.named_children():
        for parameter in module.parameters():
            parameter.data.abs_().clamp_(0.05)
        if isinstance(module, nn.MaxPool2d):  # of equal values it lets one through; a mean hangs on all
            module = nn.AvgPool2d(2)
        kept = module(kept) / 10  # below the 6 at which ReLU6 cuts off
        if name == layer.name:
            break
    row, column = kept.shape[2] // 2, kept.shape[3] // 2 - 1
    (gradient,) = torch.autograd.grad(kept[0, 0, row, column], x)
    rows, columns = torch.nonzero(gradient[0, 0], as_tuple=True)
    assert (rows.min() + rows.max()) / 2 == layer.start + layer.step * row
    assert (columns.min() + columns.max()) / 2 == layer.start + layer.step * column
