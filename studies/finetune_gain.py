"""What `finetune` gains on few pictures of one's own classes, beside the other recipes.

Usage: python -m studies.finetune_gain --data D [--weights H5] [--seeds N] [--json OUT]

Three classes, so many pictures each to train on, 50 to validate and 200 to test. All are faces of PublicTest without an
identical or near duplicate anywhere before them, so the shipped models have not been trained on them (their temperature
and epochs were chosen on this split). The classes are three of FER2013's under other names: what the shipped models
have learned fits them as well as it can, so the gain on classes farther from the seven will be smaller. `as it is` is
the shipped model without any training, asked which of the three is likeliest. A row that OUT holds already is not run
again, so a stopped run goes on.
"""

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.report import command, write_report
from mien import Emotion, Faces, evaluate, load_faces, train
from mien.data.faces import USAGES, Usage
from mien.data.quality.checks import check_faces
from mien.data.quality.clean import Drop, faces_to_drop
from mien.inference import Predictor
from mien.training import load_recipe

CLASSES = {"bright": Emotion.HAPPY, "low": Emotion.SAD, "plain": Emotion.NEUTRAL}
EACH = (10, 30, 100, 300)
VALIDATION, TEST = 50, 200
RECIPES = {
    "finetune": ("finetune", []),
    "finetune --init runs/fast": ("finetune", ["start=runs/fast"]),
    "fast": ("fast", []),
    "cnn-plain": ("cnn-plain", ["data.validation=PublicTest", "data.test=PrivateTest"]),
}


def unseen(faces):
    """PublicTest without faces that have a duplicate, near or identical, in Training or before them."""
    gone = faces_to_drop(check_faces(faces), [Drop.NEAR, Drop.CONSTANT])
    kept = faces.usage == USAGES.index(Usage.PUBLIC_TEST)
    kept[list(gone)] = False
    return faces.take(kept)


def drawn_parts(pool, each, seed):
    """So many faces a class to train on, and others to validate and test: the tests' are the same for every size."""
    chosen, labels, usages = [], [], []
    for label, emotion in enumerate(CLASSES.values()):
        own = np.random.default_rng(seed).permutation(np.flatnonzero(pool.emotion == emotion))
        own = own[: TEST + VALIDATION + each]
        chosen.append(own)
        labels += [label] * len(own)
        usages += [2] * TEST + [1] * VALIDATION + [0] * each
    rows = np.concatenate(chosen)
    return Faces(
        images=pool.images[rows],
        emotion=np.array(labels),
        usage=np.array(usages, dtype=np.uint8),
        row=np.arange(len(rows)),
        name=f"three classes, {each} faces each",
        labels=tuple(CLASSES),
    )


def accuracy(name, faces, seed, weights):
    recipe, changes = RECIPES[name]
    with tempfile.TemporaryDirectory() as folder:
        how = {"seed": seed, "weights": weights if name == "fast" else None, "progress": False}
        run = train(load_recipe(recipe, changes), faces, Path(folder) / "run", **how)
        return evaluate(run.bundle, faces, Usage.PRIVATE_TEST).accuracy


def as_it_is(faces):
    """The shipped model's answer among the three classes."""
    test = faces.take(faces.usage == USAGES.index(Usage.PRIVATE_TEST))
    predictor = Predictor("best", detector="none")
    found = [answer.faces[0].probabilities for answer in predictor.stream(list(test.images))]
    named = [[answer[emotion.label] for emotion in CLASSES.values()] for answer in found]
    return float(np.mean(np.argmax(named, axis=1) == test.emotion))


def summary(rows):
    """Mean and deviation over the seeds, for each way and size."""
    found = {}
    for row in rows:
        found.setdefault((row["recipe"], row["faces_each"]), []).append(row["accuracy"])
    return [
        {
            "recipe": recipe,
            "faces_each": each,
            "seeds": len(values),
            "accuracy": statistics.mean(values),
            "deviation": statistics.stdev(values) if len(values) > 1 else None,
        }
        for (recipe, each), values in found.items()
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="FER2013")
    parser.add_argument("--weights", type=Path, help="the ImageNet weights; without it, MIEN_IMAGENET or a download")
    parser.add_argument("--seeds", type=int, default=3, help="draws of the faces, each with a training of its seed")
    parser.add_argument("--json", type=Path, dest="out", default=Path("results/finetune_gain.json"))
    options = parser.parse_args()
    pool = unseen(load_faces(options.data))
    rows = json.loads(options.out.read_text())["rows"] if options.out.is_file() else []
    done = {(row["recipe"], row["faces_each"], row["seed"]) for row in rows}
    for seed in range(options.seeds):
        for each in EACH:
            faces = drawn_parts(pool, each, seed)
            for name in ("as it is", *RECIPES):
                if (name, each, seed) in done:
                    continue
                found = as_it_is(faces) if name not in RECIPES else accuracy(name, faces, seed, options.weights)
                rows.append({"recipe": name, "faces_each": each, "seed": seed, "accuracy": found})
                report = {"command": command(__spec__.name), "split": "PublicTest, parted anew", "views": 1}
                report |= {"classes": {name: emotion.label for name, emotion in CLASSES.items()}, "test_each": TEST}
                write_report(
                    report | {"validation_each": VALIDATION, "summary": summary(rows), "rows": rows}, options.out
                )


if __name__ == "__main__":
    main()
