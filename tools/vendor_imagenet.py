"""Make src/mien/assets/mobilenet_imagenet.safetensors from Keras' file of MobileNet's ImageNet weights.

Usage: python -m tools.vendor_imagenet mobilenet_1_0_224_tf_no_top.h5 src/mien/assets/mobilenet_imagenet.safetensors

The arrays keep Keras' layout; a key is LAYER/NUMBER, the array's place in its layer. Kernels are stored in half
precision, which halves the file; norms, 2 % of the numbers, in single precision.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
import safetensors.numpy

from mien._utils.files import atomic
from mien.models.imagenet import read_keras
from mien.models.networks.build import build
from mien.models.spec import MobileNetSpec

NOTES = {"source": "MobileNet v1 1.0/224, ImageNet (Google, Apache-2.0), as published with Keras"}


def arrays_of(source):
    """Every array of MobileNet's 13 blocks by LAYER/NUMBER."""
    names = [layer for name in build(MobileNetSpec(cut=13)).imagenet_layers() for layer in (name, f"{name}_bn")]
    layers = read_keras(source, names)
    found = {f"{name}/{number}": array for name, parts in layers.items() for number, array in enumerate(parts)}
    return {name: array.astype(np.float16) if array.ndim == 4 else array for name, array in found.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args()
    data = safetensors.numpy.save(arrays_of(options.source), NOTES)
    with atomic(options.target) as temporary:
        temporary.write_bytes(data)
    print(f"{options.target}: {len(data):,} bytes, SHA-256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
