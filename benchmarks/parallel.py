"""Two processes against one: the losses of the first steps, the figures of a short run, and the speed.

Usage: python -m benchmarks.parallel --data D [--weights H5] [--steps N] [--epochs N] [--seeds N] [--rounds N]
    [--round STEPS] [--json OUT]

1. Losses of the first N steps: the recipe fast from the same seed with the same batches, by one process and by two,
   with one thread each. In float64, in which rounding is too small to hide a mistake, and in float32, as mien trains.
   There rounding grows from step to step, so the same is done with one process of two threads: what it does alone.
2. Figures: the recipe fast cut to a few epochs, by one process and by two, from the same seeds. What noise is say the
   seeds' own spread, and the standard error of an accuracy on so many faces.
3. Speed: two processes with one thread each, and one process with two threads, take turns of so many steps. Each
   round's ratio of their seconds counts once.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.peer_process import PEERS
from benchmarks.report import command, write_report
from mien.training import load_recipe

VALIDATION = 3589
"""Faces of PublicTest."""
TOLERANCE = 1e-12
"""Largest relative difference of a step's loss in float64 that rounding is taken to explain: sums over a batch come in
another order, and every step starts from where the rounding of those before it has led."""


def start(processes, threads, *arguments):
    """The processes of one training, each a Popen with pipes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive", "MASTER_ADDR": "127.0.0.1"}
    shared |= {"MASTER_PORT": str(port), "WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    shared |= {"GROUP_RANK": "0", "TORCHELASTIC_RUN_ID": "mien"} if processes > 1 else {}
    words = [sys.executable, PEERS / "parallel_train.py", *arguments]
    return [
        subprocess.Popen(
            list(map(str, words)),
            env=os.environ | shared | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in range(processes)
    ]


def answers(side):
    """What each process prints last, once all have ended well."""
    outs = [one.communicate()[0] for one in side]
    failed = [one.returncode for one in side if one.returncode]
    if failed:
        raise SystemExit(f"a process ended with exit code {failed[0]}")
    return [json.loads(out.splitlines()[-1]) if out else None for out in outs]


def losses(processes, *arguments, threads=1):
    """Each step's loss over the whole batch."""
    parts = answers(start(processes, threads, *arguments))
    return [sum(step) / processes for step in zip(*parts, strict=True)]


def largest_difference(one, other):
    return max(abs(a - b) / abs(a) for a, b in zip(one, other, strict=True))


def compare_losses(options, folder):
    common = ("fast", "--data", options.data, *weights(options), "--losses", options.steps)
    names = {(1, 1): "one_process", (2, 1): "two_processes", (1, 2): "one_process_two_threads"}

    def curves(kind, more, ways):
        where = {way: folder / f"{kind}-{way[0]}-{way[1]}" for way in ways}
        return {way: losses(way[0], *common, *more, "--out", where[way], threads=way[1]) for way in ways}

    double = curves("double", ("--double", "--set", "average=null"), [(1, 1), (2, 1)])  # no average in float64
    single = curves("single", (), list(names))
    worst = largest_difference(double[1, 1], double[2, 1])
    return {
        "steps": options.steps,
        "float64": {
            **{names[way]: curve for way, curve in double.items()},
            "largest_relative_difference": worst,
            "tolerance": TOLERANCE,
            "within": worst <= TOLERANCE,
        },
        "float32": {
            **{names[way]: curve for way, curve in single.items()},
            "largest_relative_difference": largest_difference(single[1, 1], single[2, 1]),
            "rounding_alone": largest_difference(single[1, 1], single[1, 2]),
        },
    }


def weights(options):
    return ("--weights", options.weights) if options.weights else ()


def short_run(options, folder, processes, seed):
    arguments = ("fast", "--data", options.data, *weights(options), "--whole", "--seed", seed)
    changes = ("--set", f"phases.0.epochs={options.epochs}", "--set", "calibrate=false")
    out = folder / f"run-{processes}-{seed}"
    side = start(processes, 2 // processes, *arguments, *changes, "--out", out)
    last = answers(side)[0][-1]
    return {name: last[name] for name in ("train_loss", "val_loss", "val_accuracy")}


def compare_figures(options, folder):
    one, two = ([short_run(options, folder, count, seed) for seed in range(options.seeds)] for count in (1, 2))
    accuracies = [[row["val_accuracy"] for row in rows] for rows in (one, two)]
    means = [statistics.mean(values) for values in accuracies]
    chance = (means[0] * (1 - means[0]) / VALIDATION) ** 0.5
    return {
        "epochs": options.epochs,
        "split": "PublicTest",
        "one_process_by_seed": one,
        "two_processes_by_seed": two,
        "accuracy": dict(zip(("one_process", "two_processes"), means, strict=True)),
        "difference_of_accuracy": means[1] - means[0],
        "largest_difference_for_a_seed": max(abs(b - a) for a, b in zip(*accuracies, strict=True)),
        "spread_of_seeds": max(max(values) - min(values) for values in accuracies),
        "standard_error_of_one_accuracy": chance,
    }


def turn(side):
    """Let a side do one round; the slowest of its processes counts."""
    for one in side:
        one.stdin.write("go\n")
        one.stdin.flush()
    return max(float(one.stdout.readline()) for one in side)


def compare_speed(options, folder):
    common = ("fast", "--data", options.data, *weights(options), "--rounds", options.round)
    sides = {count: start(count, 2 // count, *common, "--out", folder / f"speed-{count}") for count in (2, 1)}
    seconds = {count: [] for count in sides}
    for number in range(options.rounds + 1):
        for count in (2, 1) if number % 2 else (1, 2):
            took = turn(sides[count])
            if number:  # the first round warms up
                seconds[count].append(took)
    for side in sides.values():
        for one in side:
            one.stdin.close()
            one.wait()
    ratios = sorted(one / two for one, two in zip(seconds[1], seconds[2], strict=True))
    faces = load_recipe("fast").batch_size * options.round
    return {
        "steps_a_round": options.round,
        "rounds": options.rounds,
        "seconds": {"two_processes_one_thread": seconds[2], "one_process_two_threads": seconds[1]},
        "faces_a_second": {
            "two_processes_one_thread": round(faces / statistics.median(seconds[2]), 1),
            "one_process_two_threads": round(faces / statistics.median(seconds[1]), 1),
        },
        "ratio": {
            "median": round(statistics.median(ratios), 3),
            "least": round(ratios[0], 3),
            "most": round(ratios[-1], 3),
        },
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="FER2013 with FER+ votes")
    parser.add_argument("--weights", type=Path, help="the ImageNet weights in Keras' layout; by default the package's")
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--round", type=int, default=15, help="steps a round; all rounds are within an epoch's 449")
    parser.add_argument("--json", type=Path, dest="out", help="write the figures here")
    options = parser.parse_args()
    if (options.rounds + 1) * options.round >= 449:
        parser.error("all rounds must fit into one epoch of 449 steps")
    report = {"command": command(__spec__.name)}
    with tempfile.TemporaryDirectory() as name:
        # The speed first: nothing else may run meanwhile, which the rest does not mind.
        report["speed"] = compare_speed(options, Path(name)) if options.rounds else None
        report["losses"] = compare_losses(options, Path(name))
        report["figures"] = compare_figures(options, Path(name)) if options.epochs else None
    write_report(report, options.out)


if __name__ == "__main__":
    main()
