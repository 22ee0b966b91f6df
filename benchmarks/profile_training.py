"""What a training epoch of the recipe fast spends its time on, by kinds of operators.

Usage: python -m benchmarks.profile_training --data D [--weights H5] [--faces N] [--threads N] [--json OUT]

Trains two short epochs on the first N Training faces, each with its own validation, as `mien train` does, under
PyTorch's profiler. Each operator's own time counts once, whichever thread it ran on; what no operator accounts for is
Python, Lightning and the profiler itself. Beside it, the part of this machine's peak (a large float32 matrix product)
that the convolutions alone reach.
"""

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.report import command, write_report
from benchmarks.time_to_accuracy import peak
from mien.data import load_faces
from mien.training import load_recipe, train
from mien.training.summary import summarize_network

EPOCHS = 2
KINDS = {
    "convolution, forward": ("mkldnn_convolution", "_slow_conv", "thnn_conv"),
    "convolution, backward": ("convolution_backward",),
    "batch norm": ("batch_norm",),
    "ReLU6": ("hardtanh", "relu", "clamp"),
    "optimizer and weight average": ("adamw", "lerp", "_foreach", "optimizer"),
    "augmentation": ("grid_sampler", "affine_grid", "aten::flip", "random", "uniform", "normal_", "bernoulli"),
}
"""Operators whose names contain one of these words belong to the kind; the first that fits counts."""


def kind_of(name):
    return next((kind for kind, words in KINDS.items() if any(word in name for word in words)), "other operators")


def few(faces, count):
    """The first ``count`` faces of Training and an eighth as many of PublicTest, as an epoch's share is."""
    training, public = (np.flatnonzero(faces.usage == usage) for usage in (0, 1))
    return faces.take(np.concatenate([training[:count], public[: count // 8]]))


def profiled(recipe, faces, weights):
    """The wall time, and each kind's own seconds."""
    with tempfile.TemporaryDirectory() as folder, profile(activities=[ProfilerActivity.CPU]) as found:
        start = time.perf_counter()
        train(recipe, faces, Path(folder) / "run", weights=weights, progress=False)
        wall = time.perf_counter() - start
    seconds = Counter()
    for event in found.key_averages():
        seconds[kind_of(event.key)] += event.self_cpu_time_total / 1e6
    return wall, seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="FER2013 with FER+ votes")
    parser.add_argument("--weights", type=Path, help="the ImageNet weights in Keras' layout; by default the package's")
    parser.add_argument("--faces", type=int, default=64 * 60, help="so many Training faces")
    parser.add_argument("--threads", type=int, default=0, help="0: as many as PyTorch chooses")
    parser.add_argument("--json", type=Path, dest="out", help="write the figures here")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    faces = few(load_faces(options.data), options.faces)
    recipe = load_recipe("fast", [f"phases.0.epochs={EPOCHS}", "calibrate=false"])
    before = peak()
    wall, seconds = profiled(recipe, faces, options.weights)
    top = (before + peak()) / 2
    splits, work = faces.splits(), summarize_network("fast")["multiply_adds"]
    done = EPOCHS * work * (3 * splits["Training"] + splits["PublicTest"])
    convolutions = seconds["convolution, forward"] + seconds["convolution, backward"]
    report = {
        "command": command(__spec__.name),
        "threads": torch.get_num_threads(),
        "faces": splits,
        "epochs": EPOCHS,
        "seconds": round(wall, 2),
        "kinds": {kind: {"seconds": round(s, 2), "share": round(s / wall, 3)} for kind, s in seconds.most_common()},
        "outside_of_operators": round(1 - sum(seconds.values()) / wall, 3),
        "peak_gflops": round(2 * top / 1e9, 1),
        "part_of_peak": round(done / wall / top, 3),
        "part_of_peak_in_convolutions": round(done / convolutions / top, 3),
    }
    write_report(report, options.out)


if __name__ == "__main__":
    main()
