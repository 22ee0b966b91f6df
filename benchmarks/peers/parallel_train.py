"""One process of a training that parallel.py starts and watches: it prints each step's loss, or how long steps take.

Usage: python benchmarks/peers/parallel_train.py RECIPE --data D --out RUN [--weights H5] [--set K=V ...] [--stream]
    [--double] (--losses N | --rounds K | --whole)

`--losses N` prints this process's part of the loss of the first N steps, one JSON list, and ends. The parts' mean over
the processes is the loss of the whole batch. `--rounds K` waits for a line on stdin before every K steps, and answers
with their seconds. `--whole` trains to the end and prints the history. `--double` computes in float64, in which
rounding is too small to hide a mistake. parallel.py sets the environment that says which of the processes this is.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import lightning as L
from protocol import reply

from mien.data import load_faces
from mien.data.shards.reader import Shards
from mien.training import load_recipe, train
from mien.training.module import Classifier


def print_losses(count):
    """Every step keeps its loss; the last one prints all of them and ends the process, here as in the others."""
    step, found = Classifier.training_step, []

    def counted(self, batch, number):
        loss = step(self, batch, number)
        found.append(float(loss.detach()))
        if len(found) == count:
            reply(found)
            os._exit(0)
        return loss

    Classifier.training_step = counted


def compute_in_float64():
    plain = L.Trainer
    L.Trainer = lambda **how: plain(**how | {"precision": "64-true"})


def take_turns(size):
    """The first round warms up; before each round the process waits, so that others can have the machine."""
    step, state = Classifier.training_step, {"step": 0, "since": 0.0}

    def timed(self, batch, number):
        if state["step"] % size == 0:
            if state["step"]:
                reply(time.perf_counter() - state["since"])
            if not sys.stdin.readline():
                os._exit(0)
            state["since"] = time.perf_counter()
        state["step"] += 1
        return step(self, batch, number)

    Classifier.training_step = timed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--set", dest="changes", action="append", default=[])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stream", action="store_true")
    parser.add_argument("--double", action="store_true")
    parser.add_argument("--losses", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--whole", action="store_true")
    options = parser.parse_args()
    if options.double:
        compute_in_float64()
    if options.losses:
        print_losses(options.losses)
    if options.rounds:
        take_turns(options.rounds)
    faces = Shards.open(options.data) if options.stream else load_faces(options.data)
    recipe = load_recipe(options.recipe, options.changes)
    how = {"seed": options.seed, "weights": options.weights, "device": "cpu", "progress": False}
    run = train(recipe, faces, options.out, **how)
    if options.whole:
        reply(run.rows)


if __name__ == "__main__":
    main()
