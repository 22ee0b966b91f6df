"""MobileNet's published ImageNet weights, which come with the package, and filling a network with them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from numpy.typing import NDArray

from mien._utils.assets import IMAGENET, read_asset
from mien.errors import WeightsError, require
from mien.models.networks.mobilenet import ConvNorm, Pooling

KERAS_FILE = "mobilenet_1_0_224_tf_no_top.h5"
"""The published file of the same weights in single precision; Keras fetches it by this name."""

Layers = dict[str, list[NDArray[np.float32]]]
"""The arrays of each layer, by Keras' name, in Keras' layout and order: a kernel, or the four arrays of a norm."""


def load_imagenet(network: Pooling, path: str | Path | None = None) -> None:
    """Fill the convolutions and norms that the network shares with MobileNet.

    The head, and what else the network has of its own, stays as it is.

    Args:
        network: the network.
        path: a file in Keras' layout, in place of the weights of the package, whose kernels are in half precision.

    Raises:
        WeightsError: where the file does not exist, is not HDF5, lacks an array, or has one of another shape.
        AssetError: where the weights of the package are damaged.
    """
    names = [layer for name in network.imagenet_layers() for layer in (name, f"{name}_bn")]
    arrays = _packaged(names) if path is None else read_keras(path, names)
    for name, module in network.imagenet_layers().items():
        _fill(module, arrays[name] + arrays[f"{name}_bn"], Path(path or IMAGENET), name)


def _packaged(names: list[str]) -> Layers:
    arrays = safetensors.numpy.load(read_asset(IMAGENET))
    return {name: [arrays[key].astype(np.float32) for key in sorted(arrays) if key.startswith(f"{name}/")]
            for name in names}  # fmt: skip


def read_keras(path: str | Path, names: list[str]) -> Layers:
    """The layers of these names, from an HDF5 file in Keras' layout.

    Raises:
        WeightsError: as :func:`load_imagenet`.
    """
    h5py = require("h5py", "train")
    if not Path(path).is_file():
        raise WeightsError("no such file of ImageNet weights", path, "Leave --weights out for those of the package.")
    try:
        with h5py.File(path, "r") as file:
            return {name: _read_layer(file, name) for name in names}
    except OSError as error:
        mend = f"Fetch {KERAS_FILE} again, or leave --weights out for those of the package."
        raise WeightsError("not an HDF5 file of Keras weights, or a damaged one", path, mend) from error
    except KeyError as error:
        raise WeightsError(f"a layer is missing ({error.args[0]})", path, f"It must be Keras' {KERAS_FILE}.") from error


def _read_layer(file: Any, name: str) -> list[NDArray[np.float32]]:
    """A layer's arrays in the order that its group lists them."""
    group = file[name]
    return [np.asarray(group[key], np.float32) for key in group.attrs["weight_names"]]


def _fill(module: ConvNorm, arrays: list[NDArray[np.float32]], path: Path, name: str) -> None:
    if len(arrays) != 5:
        raise WeightsError(f"layer {name} has {len(arrays)} arrays, expected a kernel and four of its norm", path)
    kernel, *norm = arrays
    if kernel.ndim != 4:
        raise WeightsError(f"layer {name} has the shape {kernel.shape}, expected four axes", path)
    kernel = _to_torch(kernel, depthwise=name.startswith("conv_dw"))
    if module.weight.shape[1] == 1 and kernel.shape[1] == 3:
        kernel = kernel.sum(axis=1, keepdims=True)
    targets = [module.weight, module.norm.weight, module.norm.bias, module.norm.running_mean, module.norm.running_var]
    for target, array in zip(targets, [kernel, *norm], strict=True):
        assert target is not None
        if tuple(target.shape) != array.shape:
            raise WeightsError(f"layer {name} has the shape {array.shape}, expected {tuple(target.shape)}", path)
        with torch.no_grad():
            target.copy_(torch.from_numpy(np.ascontiguousarray(array)))


def _to_torch(kernel: NDArray[np.float32], depthwise: bool) -> NDArray[np.float32]:
    """Keras (h, w, in, out), depthwise (h, w, channels, 1), to torch's (out, in, h, w)."""
    return kernel.transpose(2, 3, 0, 1) if depthwise else kernel.transpose(3, 2, 0, 1)
