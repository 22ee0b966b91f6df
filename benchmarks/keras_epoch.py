"""Seconds an epoch: the article's pipeline in Keras on TensorFlow, and ours, one after the other on the same machine.

Usage: python benchmarks/keras_epoch.py [--data D] [--weights H5] [--epochs N] [--json OUT]

Keras gets a virtual environment of its own (under --work, made on the first run). Both train the article's network on
the article's splits: one epoch of the head, then N of everything; validation counts in both. The ratio is that of the
medians of the fine-tuning epochs, without each side's first, which also builds graphs and buffers.
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

from mien.data import load_faces
from mien.files import atomic
from mien.model.imagenet import find_weights
from mien.provenance import environment

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


def run_keras(python, faces, weights, epochs, folder):
    training, validation = faces.select("Training"), faces.select("PrivateTest")
    arrays = folder / "faces.npz"
    np.savez(
        arrays,
        train_images=training.images,
        train_labels=training.emotion,
        val_images=validation.images,
        val_labels=validation.emotion,
    )
    command = [python, HERE / "keras_side.py", arrays, weights, "1", str(epochs)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
    done = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.strip().splitlines()[-1])


def run_mien(data, weights, epochs, folder):
    settings = ["--set", "phases.0.epochs=1", "--set", f"phases.1.epochs={epochs}"]
    command = [
        sys.executable,
        "-m",
        "mien",
        "train",
        "article",
        "--out",
        folder / "run",
        "--weights",
        weights,
        *settings,
    ]
    command += ["--data", data] if data else []
    done = subprocess.run([*map(str, command), "--json"], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)["history"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="FER2013 in any layout; without it, MIEN_DATA")
    parser.add_argument("--weights", type=Path, help="the ImageNet weights; without it, MIEN_IMAGENET or a download")
    parser.add_argument("--epochs", type=int, default=3, help="fine-tuning epochs of each side, at least 2")
    parser.add_argument("--work", type=Path, default=Path(".work"), help="where Keras' environment goes")
    parser.add_argument("--json", type=Path, dest="out", help="write the figures here")
    options = parser.parse_args()
    faces, weights = load_faces(options.data), find_weights(options.weights)
    python = keras_python(options.work.resolve())
    with tempfile.TemporaryDirectory() as name:
        theirs = run_keras(python, faces, weights, options.epochs, Path(name))
        ours = run_mien(options.data, weights, options.epochs, Path(name))
    report = compare(theirs, ours, faces)
    print(json.dumps(report, indent=2))
    if options.out:
        with atomic(options.out) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n")


def compare(theirs, ours, faces):
    head, fine = ([row["seconds"] for row in ours if row["phase"] == phase] for phase in ("head", "all"))
    keras = statistics.median(theirs["fine"]["seconds"][1:])
    mien = statistics.median(fine[1:])
    return {
        "command": COMMAND,
        "data": {"name": faces.name, "fingerprint": faces.fingerprint},
        "fine_tuning_seconds_an_epoch": {
            "keras": round(keras, 2),
            "mien": round(mien, 2),
            "ratio": round(mien / keras, 3),
        },
        "keras": theirs,
        "mien": {
            "head": {"seconds": head, "val_accuracy": [r["val_accuracy"] for r in ours if r["phase"] == "head"]},
            "fine": {"seconds": fine, "val_accuracy": [r["val_accuracy"] for r in ours if r["phase"] == "all"]},
        },
        **environment(),
    }


if __name__ == "__main__":
    main()
