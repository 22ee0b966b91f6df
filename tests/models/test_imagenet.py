"""The ImageNet weights: those of the package, and refusing files that are not them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from mien._utils import assets
from mien.errors import AssetError, WeightsError
from mien.models.imagenet import KERAS_FILE, load_imagenet
from mien.models.networks.build import build
from mien.models.networks.mobilenet import MobileNet
from mien.models.spec import CompactSpec, MobileNetSpec

Arrays = dict[str, dict[str, NDArray[np.float32]]]
NORM = ("gamma", "beta", "moving_mean", "moving_variance")


def small_network(channels: int = 1) -> MobileNet:
    network = build(MobileNetSpec(cut=1, channels=channels)).eval()  # type: ignore[arg-type]
    assert isinstance(network, MobileNet)
    return network


@pytest.fixture
def arrays() -> Arrays:
    """What Keras' file holds for the stem and the first block, with numbers drawn anew."""
    rng = np.random.default_rng(5)
    kernels = {"conv1": (3, 3, 3, 32), "conv_dw_1": (3, 3, 32, 1), "conv_pw_1": (1, 1, 32, 64)}
    found: Arrays = {}
    for name, shape in kernels.items():
        kind = "depthwise_kernel" if "_dw_" in name else "kernel"
        channels = shape[2] if "_dw_" in name else shape[3]
        found[name] = {kind: rng.normal(size=shape).astype(np.float32)}
        found[f"{name}_bn"] = {part: rng.uniform(0.5, 1.5, channels).astype(np.float32) for part in NORM}
    return found


def write(path: Path, arrays: Arrays) -> Path:
    with h5py.File(path, "w") as file:
        for layer, parts in arrays.items():
            group = file.create_group(layer)
            names = [f"{layer}/{part}:0" for part in parts]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, array in zip(names, parts.values(), strict=True):
                group[name] = array
    return path


def test_every_array_reaches_its_place(arrays: Arrays, tmp_path: Path) -> None:
    network = small_network(3)
    head = network.head.weight.detach().clone()
    load_imagenet(network, write(tmp_path / "w.h5", arrays))
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    assert np.array_equal(state["features.conv1.weight"][5, 2, 0, 1], arrays["conv1"]["kernel"][0, 1, 2, 5])
    depthwise = arrays["conv_dw_1"]["depthwise_kernel"]
    assert np.array_equal(state["features.conv_dw_1.weight"][7, 0, 2, 1], depthwise[2, 1, 7, 0])
    assert np.array_equal(state["features.conv_pw_1.weight"][63, 31, 0, 0], arrays["conv_pw_1"]["kernel"][0, 0, 31, 63])
    parts = ("weight", "bias", "running_mean", "running_var")
    for layer in ("conv1", "conv_dw_1", "conv_pw_1"):
        for ours, keras in zip(parts, NORM, strict=True):
            assert np.array_equal(state[f"features.{layer}.norm.{ours}"], arrays[f"{layer}_bn"][keras])
    assert torch.equal(network.head.weight, head)


def test_the_gray_kernel_gives_the_same_as_three_equal_channels(arrays: Arrays, tmp_path: Path) -> None:
    path = write(tmp_path / "w.h5", arrays)
    gray, colour = small_network(1), small_network(3)
    load_imagenet(gray, path)
    load_imagenet(colour, path)
    colour.head.load_state_dict(gray.head.state_dict())
    faces = torch.rand(3, 1, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(gray(faces), colour(faces), rtol=1e-4, atol=1e-4)


def no_bytes(path: Path, arrays: Arrays) -> Path:
    path.write_bytes(b"")
    return path


def text(path: Path, arrays: Arrays) -> Path:
    path.write_text("<html>404</html>")
    return path


def cut_short(path: Path, arrays: Arrays) -> Path:
    write(path, arrays)
    path.write_bytes(path.read_bytes()[:9000])
    return path


def without_layer(path: Path, arrays: Arrays) -> Path:
    del arrays["conv_pw_1_bn"]
    return write(path, arrays)


def without_variance(path: Path, arrays: Arrays) -> Path:
    del arrays["conv1_bn"]["moving_variance"]
    return write(path, arrays)


def without_kernel(path: Path, arrays: Arrays) -> Path:
    del arrays["conv1"]["kernel"]
    return write(path, arrays)


def without_names(path: Path, arrays: Arrays) -> Path:
    with h5py.File(write(path, arrays), "a") as file:
        del file["conv1"].attrs["weight_names"]
    return path


def another_width(path: Path, arrays: Arrays) -> Path:
    arrays["conv_pw_1"]["kernel"] = arrays["conv_pw_1"]["kernel"][..., :16]
    return write(path, arrays)


def flat_kernel(path: Path, arrays: Arrays) -> Path:
    arrays["conv_pw_1"]["kernel"] = arrays["conv_pw_1"]["kernel"].reshape(32, 64)
    return write(path, arrays)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (no_bytes, "not an HDF5 file"),
        (text, "not an HDF5 file"),
        (cut_short, "damaged"),
        (without_layer, "a layer is missing.*conv_pw_1_bn"),
        (without_names, "a layer is missing"),
        (without_variance, "layer conv1 has 4 arrays"),
        (without_kernel, "layer conv1 has 4 arrays"),
        (another_width, r"layer conv_pw_1 has the shape .*16.*expected"),
        (flat_kernel, r"layer conv_pw_1 has the shape \(32, 64\)"),
    ],
)
def test_other_files_are_refused_in_one_line(
    tmp_path: Path, arrays: Arrays, spoil: Callable[[Path, Arrays], Path], what: str
) -> None:
    path = spoil(tmp_path / "weights.h5", arrays)
    with pytest.raises(WeightsError, match=what) as caught:
        load_imagenet(small_network(), path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for missing in (tmp_path / "missing.h5", tmp_path):
        with pytest.raises(WeightsError, match=r"no such file of ImageNet weights.*Leave --weights out"):
            load_imagenet(small_network(), missing)


def test_the_weights_of_the_package_are_keras_own_in_half_precision(shared: Path) -> None:
    ours, keras = build(MobileNetSpec(cut=13)), build(MobileNetSpec(cut=13))
    load_imagenet(ours)  # type: ignore[arg-type]
    load_imagenet(keras, shared / "data" / KERAS_FILE)  # type: ignore[arg-type]
    expected = keras.state_dict()
    for name, array in ours.state_dict().items():
        if name.startswith(("head.", "votes.")):
            continue
        if array.ndim == 4 and name != "features.conv1.weight":  # whose three channels are summed for gray faces
            assert torch.equal(array, expected[name].half().float()), name
        else:
            torch.testing.assert_close(array, expected[name], rtol=2**-10, atol=1e-3, msg=name)


def test_damaged_weights_of_the_package_are_one_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = (assets.ASSETS / assets.IMAGENET).read_bytes()
    monkeypatch.setattr(assets, "ASSETS", tmp_path)
    altered = bytearray(data)
    altered[len(data) // 2] ^= 1
    for content in (data[:-1], bytes(altered), b""):
        (tmp_path / assets.IMAGENET).write_bytes(content)
        with pytest.raises(AssetError, match=r"is damaged.*Install mien again") as caught:
            load_imagenet(small_network())
        assert "\n" not in str(caught.value)
    (tmp_path / assets.IMAGENET).unlink()
    with pytest.raises(AssetError, match=r"cannot be read.*Install mien again"):
        load_imagenet(small_network())


def test_the_compact_network_takes_the_layers_that_it_shares(shared: Path) -> None:
    path = shared / "data" / "mobilenet_1_0_224_tf_no_top.h5"
    compact, whole = build(CompactSpec()), build(MobileNetSpec())
    before = compact.state_dict()["features.fine_1.pw.weight"].clone()
    for network in (compact, whole):
        load_imagenet(network, path)  # type: ignore[arg-type]
    found, expected = compact.state_dict(), whole.state_dict()
    for name in ("conv1", "conv_dw_1", "conv_pw_1", "conv_dw_2", "conv_pw_2", "conv_dw_3", "conv_pw_3"):
        for part in ("weight", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var"):
            assert torch.equal(found[f"features.{name}.{part}"], expected[f"features.{name}.{part}"]), name
    assert torch.equal(found["features.fine_1.pw.weight"], before)
