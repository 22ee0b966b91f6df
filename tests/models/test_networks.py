"""The networks: the same numbers as Keras, the article's counts, folding, freezing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from conftest import Ran
from mien.errors import RecipeError
from mien.models.imagenet import load_imagenet
from mien.models.networks.build import build, set_trainable, stored_counts
from mien.models.networks.mobilenet import ConvNorm, MobileNet
from mien.models.preprocessing import Preprocessing, prepare
from mien.models.spec import CnnSpec, MobileNetSpec


def randomise_norms(network: torch.nn.Module, seed: int = 0) -> None:
    """Give every batch norm statistics and factors as a trained one has them."""
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            for tensor, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.5, 1.0),
                (module.running_mean, -0.5, 0.5),
                (module.running_var, 0.5, 2.0),
            ):
                assert tensor is not None
                tensor.data.uniform_(low, high, generator=generator)


@pytest.mark.parametrize(("weights", "within"), [("data/mobilenet_1_0_224_tf_no_top.h5", 1e-4), (None, 0.06)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("scaling", ["unit", "signed"])
def test_every_layer_computes_what_keras_computes(
    shared: Path, scaling: str, channels: int, weights: str | None, within: float
) -> None:
    """The weights of the package are rounded to half precision: of features up to 6, at most 0.05 comes of that."""
    reference = np.load(shared / "reference" / "mobilenet_keras.npz")
    network = build(MobileNetSpec(channels=channels)).eval()
    assert isinstance(network, MobileNet)
    load_imagenet(network, weights and shared / weights)
    wanted = {name.partition("/")[2].removesuffix("_relu"): name for name in reference if name.startswith(scaling)}
    assert len(wanted) == 7
    x = torch.from_numpy(prepare(reference["images"], Preprocessing(scaling=scaling))).expand(-1, channels, -1, -1)
    with torch.no_grad():
        for name, layer in network.features.named_children():
            x = layer(x)
            if name not in wanted:
                continue
            expected = reference[wanted.pop(name)]
            if expected.ndim == 4:
                found = x.permute(0, 2, 3, 1)
            else:
                found = torch.stack([x.mean((2, 3)), x.std((2, 3), correction=0)], 1)
            assert found.shape == expected.shape
            assert np.abs(found.numpy() - expected).max() < within, name
    assert not wanted


def test_the_articles_counts_of_parameters(mien: Callable[..., Ran]) -> None:
    found = json.loads(mien("summary", "article", "--json").out)
    assert (found["parameters"], found["stored_parameters"]) == (2_170_055, 2_169_479)
    assert found["features"] == [1, 1, 1024]
    head, everything = found["phases"]
    assert (head["trainable"], head["stored_trainable"], head["epochs"]) == (7_175, 7_175, 5)
    assert (everything["trainable"], everything["stored_trainable"]) == (2_152_263, 2_151_687)
    assert sum(layer["parameters"] for layer in found["layers"]) == found["stored_parameters"]
    assert "576" in found["note"]


def test_the_plain_cnns_count_of_parameters(mien: Callable[..., Ran]) -> None:
    found = json.loads(mien("summary", "cnn-plain", "--json").out)
    assert found["parameters"] == found["stored_parameters"] == 318_407
    assert [phase["trainable"] for phase in found["phases"]] == [318_407]
    assert found["note"] == ""
    assert [layer["output"] for layer in found["layers"]] == [
        [46, 46, 32], [23, 23, 32], [21, 21, 64], [10, 10, 64], [8, 8, 64], [4096], [64], [7]
    ]  # fmt: skip


def test_three_channels_store_keras_count() -> None:
    assert stored_counts(build(MobileNetSpec(channels=3))) == (2_170_055, 2_152_263)


def test_stem_stride_1_doubles_the_feature_map() -> None:
    face = torch.zeros(1, 1, 48, 48)
    one, two = (build(MobileNetSpec(stem_stride=stride, cut=5)).eval() for stride in (1, 2))
    assert isinstance(one, MobileNet)
    assert isinstance(two, MobileNet)
    assert (one.features(face).shape[2:], two.features(face).shape[2:]) == ((12, 12), (6, 6))


def unfolded(module: ConvNorm, x: Tensor) -> Tensor:
    """Convolution, then batch norm with the stored statistics, then ReLU6, one after another."""
    x = F.pad(x, (0, 1, 0, 1)) if module.stride == 2 else x
    x = F.conv2d(x, module.weight, None, module.stride, module.padding, groups=module.groups)
    norm = module.norm
    return F.relu6(F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=1e-3))


@pytest.mark.parametrize(("channels", "kernel", "stride", "groups"), [(4, 3, 1, 1), (6, 3, 2, 6), (5, 1, 1, 1)])
def test_folding_changes_neither_values_nor_gradients(channels: int, kernel: int, stride: int, groups: int) -> None:
    torch.manual_seed(0)
    module = ConvNorm(6 if groups > 1 else 3, channels, kernel, stride, groups).double().eval()
    randomise_norms(module)
    x = torch.randn(4, module.weight.shape[1] * groups, 8, 8, dtype=torch.float64, requires_grad=True)
    tensors = [module.weight, module.norm.weight, module.norm.bias, x]
    ours, naive = module(x), unfolded(module, x)
    assert ours.shape == (4, channels, 8 // stride, 8 // stride)
    torch.testing.assert_close(ours, naive, rtol=1e-10, atol=1e-10)
    weight = torch.randn_like(ours)
    for mine, reference in zip(
        torch.autograd.grad((ours * weight).sum(), tensors),
        torch.autograd.grad((naive * weight).sum(), tensors),
        strict=True,
    ):
        assert reference.abs().max() > 0
        torch.testing.assert_close(mine, reference, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("side", [48, 44])  # 44 becomes 22, 11, 6, 3, 2: odd sides on the way
def test_training_on_mirrored_maps_is_training_with_keras_padding(side: int) -> None:
    torch.manual_seed(0)
    network = build(MobileNetSpec(cut=12, votes=True)).double().train()
    assert isinstance(network, MobileNet)
    face = torch.randn(5, 1, side, side, dtype=torch.float64)
    ours = network(face)
    x = face
    for layer in network.features.children():
        assert isinstance(layer, ConvNorm)
        x = F.pad(x, (0, 1, 0, 1)) if layer.stride == 2 else x
        x = F.conv2d(x, layer.weight, None, layer.stride, layer.padding, groups=layer.groups)
        for name, expected in (("mean", x.mean((0, 2, 3))), ("var", x.transpose(0, 1).flatten(1).var(1))):
            found = getattr(layer.norm, f"running_{name}")
            start = 0.0 if name == "mean" else 1.0
            torch.testing.assert_close(found, 0.95 * start + 0.05 * expected, rtol=1e-6, atol=1e-9)
        x = F.relu6(F.batch_norm(x, None, None, layer.norm.weight, layer.norm.bias, training=True, eps=1e-3))
    naive = network.head(x.mean((2, 3)))
    torch.testing.assert_close(ours, naive, rtol=1e-9, atol=1e-9)
    tensors = [p for name, p in network.named_parameters() if not name.startswith("votes")]
    for mine, reference in zip(
        torch.autograd.grad(ours.square().sum(), tensors),
        torch.autograd.grad(naive.square().sum(), tensors),
        strict=True,
    ):
        torch.testing.assert_close(mine, reference, rtol=1e-6, atol=1e-8)


def test_frozen_norms_stay_frozen_whatever_the_mode() -> None:
    network = build(MobileNetSpec(cut=2))
    assert isinstance(network, MobileNet)
    network.freeze_norm()
    norms = [module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    assert len(norms) == 5
    assert network.training
    assert not any(norm.training for norm in norms)
    network.eval()
    network.train()
    assert not any(norm.training for norm in norms)
    network(torch.rand(4, 1, 48, 48))
    assert all(bool((norm.running_mean == 0).all()) for norm in norms if norm.running_mean is not None)


@pytest.mark.parametrize(
    ("part", "count", "first"),
    [("head", 7_175, "head.weight"), ("all", 2_151_687, "features.conv1.weight")],
)
def test_what_trains(part: str, count: int, first: str) -> None:
    network = build(MobileNetSpec())
    set_trainable(network, part)  # type: ignore[arg-type]
    assert stored_counts(network)[1] == count
    assert next(name for name, p in network.named_parameters() if p.requires_grad) == first


def test_the_articles_last_37_layers_are_blocks_7_to_12() -> None:
    """Keras counts conv, norm and ReLU of either half of a block, and a padding layer before block 12's stride."""
    network = build(MobileNetSpec())
    set_trainable(network, 7)
    training = [name for name, p in network.features.named_parameters() if p.requires_grad]  # type: ignore[union-attr]
    modules = {name.partition(".")[0] for name in training}
    assert modules == {f"conv_{half}_{block}" for half in ("dw", "pw") for block in range(7, 13)}
    assert 3 * len(modules) + 1 == 37
    assert all(p.requires_grad for p in network.head.parameters())
    set_trainable(network, "head")
    assert not any(p.requires_grad for p in network.features.parameters())


@pytest.mark.parametrize(
    ("spec", "part"), [(MobileNetSpec(cut=5), 6), (MobileNetSpec(), 0), (MobileNetSpec(), -1), (CnnSpec(), 1)]
)
def test_a_block_that_is_not_there_is_refused(spec: MobileNetSpec | CnnSpec, part: int) -> None:
    with pytest.raises(RecipeError, match=f"no block {part} to train from"):
        set_trainable(build(spec), part)
