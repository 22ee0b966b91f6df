"""Seconds an epoch: the article's pipeline in Keras on TensorFlow and ours, taking turns on the same machine.

Usage: python -m benchmarks.keras_epoch [--data D] [--weights H5] [--epochs N] [--json OUT]

Keras gets a virtual environment of its own (under --work, made on the first run). Both train the article's network on
the article's splits: one epoch of the head, then N of everything; validation counts in both. The sides alternate epoch
by epoch, so that a machine whose pace drifts slows both. The ratio is the median over the pairs of neighbouring
fine-tuning epochs, without each side's first, which also builds graphs and buffers.
"""

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.environments import keras_python
from benchmarks.peer_process import PeerProcess
from benchmarks.report import command, write_report
from mien.data import load_faces


def save_faces(faces, path, part=1):
    """The article's splits, every ``part``th face of them."""
    training, validation = (faces.select(name) for name in ("Training", "PrivateTest"))
    np.savez(
        path,
        train_images=training.images[::part],
        train_labels=training.emotion[::part],
        val_images=validation.images[::part],
        val_labels=validation.emotion[::part],
    )


def race(python, data, weights, epochs, folder):
    """Both sides, in turns: the head's epoch of each, then the fine-tuning epochs of each."""
    keras = PeerProcess("keras_train.py", folder / "faces.npz", weights, 1, epochs, python=python)
    mien = PeerProcess("mien_train.py", data, weights, "article", folder / "run", 1, epochs)
    for number in range(1 + epochs):
        for name, side in (("keras", keras), ("mien", mien)):
            side.epoch()
            print(f"{name:5}  epoch {number}  {side.rows[-1]['seconds']:.1f} s", file=sys.stderr, flush=True)
    return keras, mien


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="FER2013 in any layout")
    parser.add_argument("--weights", type=Path, required=True, help="the ImageNet weights in Keras' layout")
    parser.add_argument("--epochs", type=int, default=4, help="fine-tuning epochs of each side, at least 2")
    parser.add_argument("--work", type=Path, default=Path(".work"), help="where Keras' environment goes")
    parser.add_argument("--json", type=Path, dest="out", help="write the figures here")
    options = parser.parse_args()
    faces, weights = load_faces(options.data), options.weights
    python = keras_python(options.work.resolve())
    with tempfile.TemporaryDirectory() as name:
        save_faces(faces, Path(name) / "faces.npz")
        keras, mien = race(python, options.data, weights, options.epochs, Path(name))
    report = compare(keras, mien, faces)
    write_report(report, options.out)


def compare(keras, mien, faces):
    pairs = [(k["seconds"], m["seconds"]) for k, m in zip(keras.rows[2:], mien.rows[2:], strict=True)]
    return {
        "command": command(__spec__.name),
        "data": {"name": faces.name, "fingerprint": faces.fingerprint},
        "fine_tuning_seconds_an_epoch": {
            "keras": round(statistics.median(k for k, _ in pairs), 2),
            "mien": round(statistics.median(m for _, m in pairs), 2),
            "ratio": round(statistics.median(m / k for k, m in pairs), 3),
        },
        "keras": {"epochs": keras.rows, **keras.read()},
        "mien": {"epochs": mien.rows},
    }


if __name__ == "__main__":
    main()
