"""One side of stream.py: a data set in memory or in shards, which answers how long a pass or some steps take.

Usage: python benchmarks/peers/stream_train.py (memory|stream) SHARDS [--weights H5]

A request is a line on stdin: `pass` (all training batches once, no training), or a number of training steps of the
recipe fast, answered by seconds and faces; `peak` is answered by the most memory that the process has held, in bytes.
"""

import argparse
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
from protocol import peak_bytes, reply

from mien.data import load_faces
from mien.data.shards.reader import Shards
from mien.models.imagenet import load_imagenet
from mien.models.networks.build import build
from mien.training import load_recipe
from mien.training.augmentation import Augment
from mien.training.data_source import BatchSource, Draws, ordered, training_of
from mien.training.ddp import ALONE
from mien.training.memory import reuse_freed_memory
from mien.training.module import Classifier, Loss


def feed_of(how, root):
    """The batches that `mien train fast` would take, and the seconds until the data are at hand."""
    start = time.perf_counter()
    data = Shards.open(root) if how == "stream" else load_faces(root, cache=False)
    recipe = ordered(load_recipe("fast"), data, ALONE)
    validation = data.select("PublicTest")
    feed = BatchSource(Draws(recipe, 0, "cpu", ALONE), training_of(data, recipe), validation, [])
    return feed, time.perf_counter() - start


def one_pass(feed):
    """Every training face once, without augmentation."""
    draws = feed.draws
    feed.draws = replace(draws, recipe=draws.recipe.model_copy(update={"augment": Augment()}))
    faces = sum(len(batch.labels) for batch in feed.train_dataloader())
    feed.draws = draws
    return faces


class Trainer:
    """Steps of the recipe fast without Lightning, one epoch's batches after another's."""

    def __init__(self, feed, weights):
        self.feed, recipe = feed, feed.draws.recipe
        network = build(recipe.network)
        load_imagenet(network, weights)
        self.module = Classifier(network.train(), recipe.phases[0], Loss(torch.ones(7), recipe.label_smoothing))
        self.optimizer = self.module.configure_optimizers()
        self.batches = self.endless()

    def endless(self):
        while True:
            yield from self.feed.train_dataloader()
            self.feed.rows.append({})

    def steps(self, count):
        faces = 0
        for batch in islice(self.batches, count):
            loss = self.module.loss(self.module.network, batch)[1]
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            faces += len(batch.labels)
        return faces


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("how", choices=("memory", "stream"))
    parser.add_argument("root", type=Path)
    parser.add_argument("--weights", type=Path)
    options = parser.parse_args()
    feed, seconds = feed_of(options.how, options.root)
    reuse_freed_memory()  # after the reading, as mien train does
    trainer = Trainer(feed, options.weights)
    reply({"seconds": seconds, "peak": peak_bytes()})
    for line in sys.stdin:
        start = time.perf_counter()
        if line.strip() == "peak":
            reply(peak_bytes())
        elif line.strip() == "pass":
            reply({"faces": one_pass(feed), "seconds": time.perf_counter() - start})
        else:
            reply({"faces": trainer.steps(int(line)), "seconds": time.perf_counter() - start})


if __name__ == "__main__":
    main()
