"""A recipe in mien, an epoch at a time; run by keras_epoch.py and time_to_accuracy.py.

Usage: mien_train.py DATA WEIGHTS.h5 RECIPE OUT EPOCHS...
EPOCHS gives the length of each of the recipe's phases. Before each epoch it waits for a line on its input; after each
it prints the epoch's figures as a line of JSON.
"""

import json
import sys

from mien.training import load_recipe, train


def main(data, weights, name, out, *epochs):
    recipe = load_recipe(name, [f"phases.{number}.epochs={count}" for number, count in enumerate(epochs)])
    left = sum(map(int, epochs))

    def turn(row):
        print(json.dumps(row), flush=True)
        if row["epoch"] < left:
            sys.stdin.readline()

    sys.stdin.readline()
    train(recipe, data, out, weights=weights, progress=False, on_epoch=turn)


if __name__ == "__main__":
    main(*sys.argv[1:])
