"""Minutes to the article's 62.36 % on PublicTest: the recipe fast against the article's pipeline in Keras, in one run.

Usage: python -m benchmarks.time_to_accuracy --data D [--weights H5] [--epochs N] [--keras-epochs N] [--keras-part PART]
    [--json OUT]

Fast trains with its cycle cut to N epochs; its time ends with the first epoch whose validation (PublicTest) reaches
62.36 %. The article's pipeline is too long to run whole: its time is its seconds an epoch, measured here on Keras and
TensorFlow with every PARTth face and multiplied by PART, times the epochs that the article published, 5 of the head and
36 of fine-tuning up to the weights that gave 62.36 % (it trained 11 more to know that they were the best). The sides
take turns, epoch by epoch, while both run.

On some processors TensorFlow's gradients of 1x1 convolutions take ten times as long as the matrix product that they
are. So the report also has the ratio at Keras' best pace that this project has seen on any machine, from
results/keras_epoch.json; that one is the claim.

Also: images a second in training (augmentation and validation included) and in inference, and what part that is of this
machine's own peak, a large float32 matrix product timed before, between and after.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from benchmarks.environments import keras_python
from benchmarks.keras_epoch import save_faces
from benchmarks.peer_process import PeerProcess
from benchmarks.report import RESULTS, command, write_report
from mien.data import load_faces
from mien.models.load import load_bundle
from mien.models.onnx.session import Session
from mien.training.summary import summarize_network

TARGET = 0.6236
HEAD_EPOCHS, FINE_EPOCHS = 5, 36
PACE = RESULTS / "keras_epoch.json"


def peak(side=3072, calls=6):
    """Multiply-adds a second of a large float32 matrix product, the best of several calls."""
    a, b = torch.rand(side, side), torch.rand(side, side)
    seconds = []
    for _ in range(calls):
        start = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - start)
    return side**3 / min(seconds)


def race(options, faces, weights, folder):
    """Keras' head epoch and fine-tuning epochs, ours in between; then the rest of ours; peaks along the way."""
    save_faces(faces, folder / "faces.npz", options.keras_part)
    python = keras_python(options.work.resolve())
    keras = PeerProcess("keras_train.py", folder / "faces.npz", weights, 1, options.keras_epochs, python=python)
    mien = PeerProcess("mien_train.py", options.data, weights, "fast", folder / "run", f"{options.epochs}")
    peaks = [peak()]
    for turn in range(max(options.epochs, 1 + options.keras_epochs)):
        if turn <= options.keras_epochs:
            keras.epoch()
        if turn < options.epochs:
            mien.epoch()
        peaks.append(peak())
        say(keras, mien, peaks)
    mien.process.wait()
    return keras, mien, peaks


def say(keras, mien, peaks):
    row = mien.rows[-1]
    print(
        f"keras (a part) {keras.rows[-1]['seconds']:.1f} s   mien epoch {row['epoch']} {row['seconds']:.1f} s"
        f" {row['val_accuracy']:.4f}   peak {2 * peaks[-1] / 1e9:.0f} GFLOP/s",
        file=sys.stderr,
        flush=True,
    )


def to_target(rows):
    """Seconds until the first epoch that reaches the target; None where none does."""
    total = 0.0
    for row in rows:
        total += row["seconds"]
        if row["val_accuracy"] >= TARGET:
            return total
    return None


def inference(bundle, images):
    """Faces a second in batches of 64, the best of five rounds."""
    session = Session(load_bundle(bundle))
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        session.probabilities(images, batch=64)
        seconds.append(time.perf_counter() - start)
    return len(images) / min(seconds)


def whole(rows, part=1):
    """Seconds of the article's epochs: one of the head and the median of fine-tuning's after its first."""
    head, fine = rows[0]["seconds"], statistics.median(row["seconds"] for row in rows[2:])
    return part * (HEAD_EPOCHS * head + FINE_EPOCHS * fine)


def compare(keras, mien, peaks, faces, rate, part):
    here, ours = whole(keras.rows, part), to_target(mien.rows)
    before = whole(json.loads(PACE.read_text())["keras"]["epochs"])
    work, top = summarize_network("fast")["multiply_adds"], statistics.median(peaks)
    splits = faces.splits()
    epoch = statistics.median(row["seconds"] for row in mien.rows)
    done = work * (3 * splits["Training"] + splits["PublicTest"]) / epoch
    return {
        "command": command(__spec__.name),
        "data": {"name": faces.name, "fingerprint": faces.fingerprint},
        "target": {"split": "PublicTest", "accuracy": TARGET},
        "seconds_to_target": {
            "keras": round(here, 1),
            "keras_at_its_best_pace": round(min(here, before), 1),
            "mien": ours and round(ours, 1),
        },
        "times_faster": ours and round(here / ours, 1),
        "times_faster_than_its_best_pace": ours and round(min(here, before) / ours, 1),
        "keras_part": part,
        "keras_epochs_counted": {"head": HEAD_EPOCHS, "fine": FINE_EPOCHS},
        "training": {"images_a_second": round(splits["Training"] / epoch, 1), "part_of_peak": round(done / top, 3)},
        "inference": {"images_a_second": round(rate, 1), "part_of_peak": round(rate * work / top, 3)},
        "peak_gflops": [round(2 * one / 1e9, 1) for one in peaks],
        "multiply_adds_a_face": work,
        "keras": {"epochs": keras.rows, **keras.read()},
        "mien": {"epochs": mien.rows},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="FER2013 with FER+ votes")
    parser.add_argument("--weights", type=Path, required=True, help="the ImageNet weights in Keras' layout")
    parser.add_argument("--epochs", type=int, default=4, help="length of our cycle")
    parser.add_argument("--keras-epochs", type=int, default=3, help="fine-tuning epochs of Keras, at least 2")
    parser.add_argument("--keras-part", type=int, default=8, help="Keras gets every so many-th face")
    parser.add_argument("--work", type=Path, default=Path(".work"), help="where Keras' environment goes")
    parser.add_argument("--json", type=Path, dest="out", help="write the figures here")
    options = parser.parse_args()
    faces, weights = load_faces(options.data), options.weights
    with tempfile.TemporaryDirectory() as name:
        keras, mien, peaks = race(options, faces, weights, Path(name))
        rate = inference(Path(name) / "run", np.concatenate([faces.select("PublicTest").images] * 2))
    report = compare(keras, mien, peaks, faces, rate, options.keras_part)
    write_report(report, options.out)


if __name__ == "__main__":
    main()
