"""The article's recipe in mien, an epoch at a time; run by keras_epoch.py.

Usage: mien_side.py DATA WEIGHTS.h5 HEAD_EPOCHS FINE_EPOCHS
Before each epoch it waits for a line on its input; after each it prints the epoch's figures as a line of JSON.
"""

import json
import sys
import tempfile

from mien.train import load_recipe, train


def main(data, weights, head_epochs, fine_epochs):
    epochs = int(head_epochs) + int(fine_epochs)
    recipe = load_recipe("article", [f"phases.0.epochs={head_epochs}", f"phases.1.epochs={fine_epochs}"])

    def turn(row):
        print(json.dumps(row), flush=True)
        if row["epoch"] < epochs:
            sys.stdin.readline()

    with tempfile.TemporaryDirectory() as out:
        sys.stdin.readline()
        train(recipe, data, f"{out}/run", weights=weights, progress=False, on_epoch=turn)


if __name__ == "__main__":
    main(*sys.argv[1:])
