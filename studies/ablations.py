"""What class weights and duplicates do, on PublicTest; one short run a variant.

Usage: python -m studies.ablations --data D [--weights H5] [--seeds N] [--json OUT]

The recipe `fast` without the votes' head, its cycle cut to 2 epochs, once with each kind of class weights, and on data
without the duplicates that `mien data check` finds. PublicTest stays whole. A variant that OUT holds already is not run
again, so a stopped run goes on.
"""

import argparse
import json
import os
import tempfile
from pathlib import Path

from benchmarks.report import command, write_report
from mien.data import load_faces
from mien.data.faces import USAGES, Usage
from mien.data.quality.checks import check_faces
from mien.data.quality.clean import Drop, faces_to_drop
from mien.evaluation import evaluate
from mien.training import load_recipe, train

CHANGES = ("network.votes=false", "phases.0.epochs=2")
VARIANTS = {
    "none": ([], []),
    "share": (["class_weights=share"], []),
    "inverse": (["class_weights=inverse"], []),
    "effective": (["class_weights=effective"], []),
    "without near duplicates": ([], [Drop.NEAR]),
}
"""Changes to the recipe, and what of Training to leave out."""


def without(faces, drops):
    """The data without what a check would drop from Training; both test splits stay whole."""
    if not drops:
        return faces
    gone = list(faces_to_drop(check_faces(faces), drops))
    kept = faces.usage >= 0
    kept[gone] = faces.usage[gone] != USAGES.index(Usage.TRAINING)
    return faces.take(kept)


def measure(faces, name, seed, weights):
    """One variant's figures on PublicTest, and what it trained on."""
    changes, drops = VARIANTS[name]
    part = without(faces, drops)
    with tempfile.TemporaryDirectory() as folder:
        recipe = load_recipe("fast", [*CHANGES, *changes])
        run = train(recipe, part, folder, seed=seed, weights=weights, progress=False)
        found = evaluate(run.bundle, faces, Usage.PUBLIC_TEST).figures
    disgust = found["per_class"]["Disgust"]
    return {
        "variant": name,
        "seed": seed,
        "changes": [*CHANGES, *changes],
        "training_faces": part.splits()["Training"],
        **{key: found[key] for key in ("n", "accuracy", "macro_f1", "nll", "ece", "clean")},
        "disgust": {"recall": disgust["recall"], "precision": disgust["precision"], "faces": disgust["support"]},
        "seconds": round(run.seconds, 1),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="FER2013 with FER+ votes")
    parser.add_argument("--weights", type=Path, help="the ImageNet weights; without it, MIEN_IMAGENET or a download")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each variant")
    parser.add_argument("--json", type=Path, dest="out", default=Path("results/ablations.json"))
    options = parser.parse_args()
    faces = load_faces(options.data)
    rows = json.loads(options.out.read_text())["rows"] if options.out.is_file() else []
    for seed in range(options.seeds):
        for name in VARIANTS:
            if any((row["variant"], row["seed"]) == (name, seed) for row in rows):
                continue
            rows.append(measure(faces, name, seed, options.weights))
            print(json.dumps(rows[-1]), flush=True)
            data = {"name": faces.name, "fingerprint": faces.fingerprint}
            threads = os.environ.get("OMP_NUM_THREADS")
            report = {"command": command(__spec__.name), "split": "PublicTest", "views": 1, "data": data, "rows": rows}
            write_report(report | {"threads": threads}, options.out, quiet=True)


if __name__ == "__main__":
    main()
