"""Speed, memory, size and accuracy: our models, the classifier of fer, and the article's model in Keras, in one run.

Usage: python -m benchmarks.inference --data D [--rounds N] [--faces N] [--only NAME...] [--json OUT]

Every side is a process of its own that gets the same faces, PrivateTest's crops as uint8 48x48, and names them, its
own preprocessing included; the sides take turns. fer and Keras have virtual environments of their own (under --work,
made on the first run), and so have we, without PyTorch. The int8 files are exported anew, calibrated on Training and
gated on PublicTest. A rate is the median over the rounds, a ratio of rates the median of each round's ratio.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.environments import fer_python, import_seconds, installed, keras_python, mien_python
from benchmarks.peer_process import PeerProcess
from benchmarks.report import command, write_report
from mien.data import load_faces
from mien.emotions import LABELS
from mien.export.exporter import export_model
from mien.models.load import shipped_models

THREADS = (1, 2)
CALLS = {1: 50, 64: 7}
"""How many calls of each batch size a turn has."""
PEERS = ("keras", "compiled", "tflite")
"""fer's Keras model as the package calls it and compiled by TensorFlow, and the package's default."""
INT8, IN_TORCH = "-int8", ("best",)
IMPORTS = {
    "mien": "from mien import Predictor",
    "fer": "from fer.fer import FER",
    "keras": "import keras",
    "torch": "import torch",
}
"""What each environment is for; its import is timed."""


def pythons(work):
    return {"mien": mien_python(work), "fer": fer_python(work), "keras": keras_python(work), "torch": sys.executable}


def commands(images, folder):
    """For each side its environment, and its script with arguments but for the threads, which come last."""
    sides = {}
    for name in shipped_models():
        sides[name] = ("mien", "onnx_predict.py", name, images)
        sides[f"{name}{INT8}"] = ("mien", "onnx_predict.py", folder / f"{name}{INT8}.onnx", images)
        if name in IN_TORCH:
            sides[f"{name}-torch"] = ("torch", "torch_predict.py", name, images)
    fer = {f"fer-{kind}": ("fer", "fer_predict.py", kind, images) for kind in PEERS}
    return sides | fer | {"article-keras": ("keras", "keras_predict.py", images)}


def export(chosen, faces):
    """Write the int8 files that the sides are to read."""
    for name, (_, _, model, *_) in chosen.items():
        if name.endswith(INT8):
            export_model(name.removesuffix(INT8), model, "onnx-int8", faces)


def start(chosen, python, threads):
    """Every side, waiting for its first turn."""
    sides = {}
    for name, (where, script, *arguments) in chosen.items():
        sides[name] = PeerProcess(script, *arguments, threads, python=python[where])
        sides[name].read()
    return sides


def race(sides, rounds, threads):
    """Seconds of every call, by side and batch: a list for each round."""
    seconds = {name: {batch: [] for batch in CALLS} for name in sides}
    for number in range(rounds):
        for batch, calls in CALLS.items():
            request = json.dumps({"batch": batch, "calls": calls, "first": number * calls})
            for name, side in sides.items():
                seconds[name][batch].append(side.request(request)["seconds"])
        print(f"threads {threads}: round {number + 1} of {rounds}", file=sys.stderr, flush=True)
    return seconds


def speed(rounds, batch):
    """A rate by round, its median, and percentiles of single calls."""
    rates = [batch * len(calls) / sum(calls) for calls in rounds]
    p50, p95 = np.percentile(1000 * np.concatenate(rounds), (50, 95))
    return {
        "faces_a_second": round(statistics.median(rates), 1),
        "p50_ms": round(float(p50), 3),
        "p95_ms": round(float(p95), 3),
        "rates": [round(rate, 1) for rate in rates],
    }


def accuracy(predictions, faces, clean):
    """Accuracy on all faces and on those not also in Training; nothing for weights drawn at random."""
    if predictions is None:
        return {}
    numbers = {label.lower(): number for number, label in enumerate(LABELS)}
    hits = np.array([numbers[word.lower()] for word in predictions]) == faces.emotion
    return {"accuracy": round(float(hits.mean()), 4), "clean_accuracy": round(float(hits[clean].mean()), 4)}


def measure(chosen, python, rounds, faces, clean):
    """Every side's figures: speed by batch and threads, memory by threads, accuracy once."""
    found = {name: {"environment": where, "speed": {}, "peak_megabytes": {}} for name, (where, *_) in chosen.items()}
    for threads in THREADS:
        sides = start(chosen, python, threads)
        seconds = race(sides, rounds, threads)
        for name, side in sides.items():
            one = found[name]
            if threads == THREADS[-1]:
                one |= accuracy(side.request('{"all": true}')["predictions"], faces, clean)
            about = side.finish()
            one["peak_megabytes"][str(threads)] = round(about.pop("peak_bytes") / 1e6, 1)
            one |= about
            for batch in CALLS:
                one["speed"][f"batch {batch}, threads {threads}"] = speed(seconds[name][batch], batch)
    return found


def times(one, other, setting="batch 64, threads 2"):
    """How many times as fast: the median over the rounds."""
    pairs = zip(one["speed"][setting]["rates"], other["speed"][setting]["rates"], strict=True)
    return round(statistics.median(a / b for a, b in pairs), 2)


def points(one, other, key="clean_accuracy"):
    return round(100 * (one[key] - other[key]), 2)


def reached(found, bound):
    return {peer: value >= bound for peer, value in found.items()}


def targets(found):
    """What was set out to be reached, and whether it is, against each way to run fer's classifier."""
    peers = {name: one for name, one in found.items() if name.startswith("fer-")}
    rows = []
    for name, rate, better in (("tiny-int8", 4, 3), ("best-int8", 1, 4)):
        if name in found and peers:
            ratios = {peer: times(found[name], one) for peer, one in peers.items()}
            above = {peer: points(found[name], one) for peer, one in peers.items()}
            what = f"{name}: times fer's faces a second, batch 64, threads 2"
            rows.append({"what": what, "at_least": rate, "found": ratios, "met": reached(ratios, rate)})
            what = f"{name}: points of clean accuracy above fer"
            rows.append({"what": what, "at_least": better, "found": above, "met": reached(above, better)})
    if {"best", "best-int8"} <= set(found):
        below = points(found["best"], found["best-int8"], "accuracy")
        what = "best-int8: points of accuracy below best in float32"
        rows.append({"what": what, "at_most": 0.5, "found": below, "met": {"best": below <= 0.5}})
    return rows


def about_environments(found, python):
    """Installed size and import time of each environment that a side ran in."""
    return {
        name: {"import": IMPORTS[name], "import_seconds": import_seconds(python[name], IMPORTS[name])}
        | installed(python[name])
        for name in dict.fromkeys(one["environment"] for one in found.values())
    }


def table(report):
    settings = [f"batch {batch}, threads {threads}" for threads in THREADS for batch in CALLS]
    print(f"\n{'faces a second':16}" + "".join(f"{one:>22}" for one in settings) + "   clean   MB", file=sys.stderr)
    for name, one in report["sides"].items():
        rates = "".join(f"{one['speed'][setting]['faces_a_second']:22,.0f}" for setting in settings)
        clean = f"{one['clean_accuracy']:8.2%}" if "clean_accuracy" in one else f"{'-':>8}"
        print(f"{name:16}{rates}{clean}{one['peak_megabytes'][str(THREADS[-1])]:7.0f}", file=sys.stderr)
    for row in report["targets"]:
        print(f"{'met    ' if all(row['met'].values()) else 'NOT MET'} {row['what']}: {row['found']}", file=sys.stderr)


def few(faces, count):
    """At most ``count`` faces of PrivateTest and all others, to try the benchmark out."""
    private = np.flatnonzero(faces.usage == 2)
    return faces.take(np.setdiff1d(np.arange(len(faces)), private[count:]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="FER2013 in any layout")
    parser.add_argument("--rounds", type=int, default=12, help="turns of each side")
    parser.add_argument("--faces", type=int, help="only so many test faces, to try it out")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="only these sides, to try it out")
    parser.add_argument("--work", type=Path, default=Path(".work"), help="where the environments go")
    parser.add_argument("--json", type=Path, dest="out", help="write the figures here")
    options = parser.parse_args()
    faces = load_faces(options.data)
    faces = faces if options.faces is None else few(faces, options.faces)
    test = faces.select("PrivateTest")
    clean = test.clean(faces.select("Training"))
    python = pythons(options.work.resolve())
    with tempfile.TemporaryDirectory() as name:
        images = Path(name) / "faces.npz"
        np.savez(images, images=test.images)
        chosen = commands(images, Path(name))
        unknown = set(options.only or []) - set(chosen)
        if unknown:
            raise SystemExit(f"no such side: {', '.join(unknown)}; there are {', '.join(chosen)}")
        chosen = {name: one for name, one in chosen.items() if name in (options.only or chosen)}
        export(chosen, faces)
        found = measure(chosen, python, options.rounds, test, clean)
    report = {
        "command": command(__spec__.name),
        "rounds": options.rounds,
        "calls_a_round": {f"batch {batch}": calls for batch, calls in CALLS.items()},
        "data": {"name": faces.name, "fingerprint": faces.fingerprint, "faces": len(test), "clean": int(clean.sum())},
        "targets": targets(found),
        "environments": about_environments(found, python),
        "sides": found,
    }
    table(report)
    write_report(report, options.out, quiet=True)


if __name__ == "__main__":
    main()
