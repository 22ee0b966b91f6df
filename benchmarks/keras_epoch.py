"""Seconds an epoch: the article's pipeline in Keras on TensorFlow and ours, taking turns on the same machine.

Usage: python benchmarks/keras_epoch.py [--data D] [--weights H5] [--epochs N] [--json OUT]

Keras gets a virtual environment of its own (under --work, made on the first run). Both train the article's network on
the article's splits: one epoch of the head, then N of everything; validation counts in both. The sides alternate epoch
by epoch, so that a machine whose pace drifts slows both. The ratio is the median over the pairs of neighbouring
fine-tuning epochs, without each side's first, which also builds graphs and buffers.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from mien._utils.environment import environment
from mien._utils.files import atomic
from mien.data import load_faces
from mien.models.imagenet import find_weights

HERE = Path(__file__).resolve().parent
COMMAND = (
    "python benchmarks/keras_epoch.py --data D --weights mobilenet_1_0_224_tf_no_top.h5 --json results/keras_epoch.json"
)


def keras_python(work):
    """The interpreter of the environment with TensorFlow, made where it is missing."""
    python = work / "keras" / "bin" / "python"
    if not (work / "keras" / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", work / "keras"], check=True)
        tensorflow = "tensorflow-cpu" if platform.system() == "Linux" else "tensorflow"
        subprocess.run([python, "-m", "pip", "install", "--quiet", tensorflow, "scipy", "pillow"], check=True)
        (work / "keras" / ".ready").touch()
    return python


class Side:
    """One pipeline in a process of its own, which does an epoch, or what it is asked for, each time it is told to."""

    def __init__(self, *command):
        settings = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=settings
        )
        self.rows = []

    def epoch(self):
        self.rows.append(self.ask("go"))

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.read()

    def finish(self):
        """What it says once its input ends."""
        self.process.stdin.close()
        found = self.read()
        self.process.wait()
        return found

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"a side ended early, exit code {self.process.wait()}")
        return json.loads(line)


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
    keras = Side(python, HERE / "keras_side.py", folder / "faces.npz", weights, 1, epochs)
    mien = Side(sys.executable, HERE / "mien_side.py", data, weights, "article", folder / "run", 1, epochs)
    for number in range(1 + epochs):
        for name, side in (("keras", keras), ("mien", mien)):
            side.epoch()
            print(f"{name:5}  epoch {number}  {side.rows[-1]['seconds']:.1f} s", file=sys.stderr, flush=True)
    return keras, mien


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="FER2013 in any layout")
    parser.add_argument("--weights", type=Path, help="the ImageNet weights; without it, MIEN_IMAGENET or a download")
    parser.add_argument("--epochs", type=int, default=4, help="fine-tuning epochs of each side, at least 2")
    parser.add_argument("--work", type=Path, default=Path(".work"), help="where Keras' environment goes")
    parser.add_argument("--json", type=Path, dest="out", help="write the figures here")
    options = parser.parse_args()
    faces, weights = load_faces(options.data), find_weights(options.weights)
    python = keras_python(options.work.resolve())
    with tempfile.TemporaryDirectory() as name:
        save_faces(faces, Path(name) / "faces.npz")
        keras, mien = race(python, options.data, weights, options.epochs, Path(name))
    report = compare(keras, mien, faces)
    print(json.dumps(report, indent=2))
    if options.out:
        with atomic(options.out) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n")


def compare(keras, mien, faces):
    pairs = [(k["seconds"], m["seconds"]) for k, m in zip(keras.rows[2:], mien.rows[2:], strict=True)]
    return {
        "command": COMMAND,
        "data": {"name": faces.name, "fingerprint": faces.fingerprint},
        "fine_tuning_seconds_an_epoch": {
            "keras": round(statistics.median(k for k, _ in pairs), 2),
            "mien": round(statistics.median(m for _, m in pairs), 2),
            "ratio": round(statistics.median(m / k for k, m in pairs), 3),
        },
        "keras": {"epochs": keras.rows, **keras.read()},
        "mien": {"epochs": mien.rows},
        **environment(),
    }


if __name__ == "__main__":
    main()
