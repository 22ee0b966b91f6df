"""MobileNet's published ImageNet weights: find or fetch the file, and fill a network with it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import platformdirs
import torch
from numpy.typing import NDArray

from mien.errors import WeightsError, require
from mien.models.networks.mobilenet import ConvNorm, Pooling

NAME = "mobilenet_1_0_224_tf_no_top.h5"
URL = f"https://storage.googleapis.com/tensorflow/keras-applications/mobilenet/{NAME}"
MD5 = "725ccbd03d61d7ced5b5c4cd17e7d527"


def find_weights(path: str | Path | None = None, url: str = URL, md5: str = MD5) -> Path:
    """The weights' file: ``path``, else ``MIEN_IMAGENET``, else the cached download (checked by MD5).

    Raises:
        WeightsError: where the file does not exist or cannot be fetched.
    """
    chosen = path or os.environ.get("MIEN_IMAGENET")
    if not chosen:
        return _download(url, md5)
    if not Path(chosen).is_file():
        raise WeightsError("no such file of ImageNet weights", chosen, "Check --weights or MIEN_IMAGENET.")
    return Path(chosen)


def _download(url: str, md5: str) -> Path:
    pooch = require("pooch", "train")
    folder = Path(os.environ.get("MIEN_CACHE", platformdirs.user_cache_dir("mien"))) / "imagenet"
    try:
        return Path(pooch.retrieve(url, known_hash=f"md5:{md5}", fname=NAME, path=folder, progressbar=False))
    except (OSError, ValueError) as error:
        raise WeightsError(
            f"the ImageNet weights could not be fetched ({type(error).__name__})",
            url,
            f"Download {NAME} elsewhere and name it with --weights FILE or MIEN_IMAGENET.",
        ) from error


def load_imagenet(network: Pooling, path: str | Path) -> None:
    """Fill the convolutions and norms that the network shares with MobileNet from a file in Keras' layout.

    The head, and what else the network has of its own, stays as it is.

    Raises:
        WeightsError: where the file is not HDF5, or lacks an array, or has one of another shape.
    """
    h5py = require("h5py", "train")
    try:
        with h5py.File(path, "r") as file:
            arrays = {name: _read_layer(file, name) for name in _names(network)}
    except OSError as error:
        raise WeightsError(
            "not an HDF5 file of Keras weights, or a damaged one", path, f"Fetch {NAME} again."
        ) from error
    except KeyError as error:
        raise WeightsError(f"a layer is missing ({error.args[0]})", path, f"It must be Keras' {NAME}.") from error
    for name, module in network.imagenet_layers().items():
        _fill(module, arrays[name] + arrays[f"{name}_bn"], Path(path), name)


def _names(network: Pooling) -> list[str]:
    return [layer for name in network.imagenet_layers() for layer in (name, f"{name}_bn")]


def _read_layer(file: object, name: str) -> list[NDArray[np.float32]]:
    """A layer's arrays in the order that its group lists them."""
    group = file[name]  # type: ignore[index]
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
