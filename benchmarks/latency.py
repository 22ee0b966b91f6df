"""Milliseconds a face on this CPU: every recipe's network in ONNX Runtime, preprocessing and softmax included.

Usage: python -m benchmarks.latency [--json OUT]

Weights do not change the time, so networks are drawn at random. Each figure is the median of many calls; the networks
take turns, so that a machine whose pace drifts slows all of them.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from benchmarks.report import command, write_report
from mien.models.bundle import Bundle, Card
from mien.models.networks.build import build
from mien.models.onnx.graph import build_graph
from mien.models.onnx.session import Session
from mien.training import load_recipe, shipped_recipes

BATCHES = (1, 64)
THREADS = (1, 2)


def session_of(recipe, threads):
    network = build(recipe.network).eval()
    weights = {name: t.contiguous().numpy() for name, t in network.state_dict().items() if t.is_floating_point()}
    card = Card(name=recipe.name, network=recipe.network, preprocessing=recipe.preprocessing)
    return Session(Bundle(card, weights, build_graph(recipe.network, weights)), threads)


def call(session, images):
    start = time.perf_counter()
    session.probabilities(images)
    return time.perf_counter() - start


def measure(names, rounds):
    """Median milliseconds a face of each network, by threads and batch."""
    rng = np.random.default_rng(0)
    found = {name: {} for name in names}
    for threads in THREADS:
        sessions = {name: session_of(load_recipe(name), threads) for name in names}
        for batch in BATCHES:
            images = rng.integers(0, 256, (batch, 48, 48), dtype=np.uint8)
            times = {name: [] for name in names}
            for _ in range(rounds if batch == 1 else max(5, rounds // 10)):
                for name, session in sessions.items():
                    times[name].append(call(session, images))
            for name in names:
                median = statistics.median(times[name][2:])
                found[name][f"batch {batch}, threads {threads}"] = round(1000 * median / batch, 4)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=300, help="calls of one face each; batches get a tenth")
    parser.add_argument("--json", type=Path, dest="out", help="write the figures here")
    options = parser.parse_args()
    found = measure(shipped_recipes(), options.rounds)
    report = {"command": command(__spec__.name), "milliseconds_a_face": found}
    write_report(report, options.out)


if __name__ == "__main__":
    main()
