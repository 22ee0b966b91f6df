"""Whole photos to named faces: fer.detect_emotions and mien.Predictor, photo by photo in turns.

Usage: python -m benchmarks.end_to_end --data fer2013.parquet --photos SKIMAGE/data MATPLOTLIB/sample_data \
  SKLEARN/images [--rounds N] [--each N] [--without SIDE...] [--json OUT]

The photos are those of studies/detectors.py: two real faces in 30 variants, FER2013's faces pasted into photos, and
photos without people. fer runs with its defaults in a virtual environment of its own (under --work), once with its
default detector, OpenCV's Haar cascade, and once with MTCNN; mien runs with each of its detectors.
"""

import argparse
import statistics
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.environments import fer_python, mien_python
from benchmarks.peer_process import PeerProcess
from benchmarks.report import command, write_report
from benchmarks.scenes import FACES, NEGATIVES, SCENES, hit, load, pasted, variants
from mien.data import load_faces

THREADS = 2
SIDES = (32, 48, 64, 96, 128, 192)
"""How large the pasted faces' frames are, in pixels."""


def photos(faces, folders, each):
    """Each photo's kind, its pixels, and its face's box; None where it has no face."""
    for name, truth in FACES.items():
        for _, image, box in variants(load(name, folders), truth):
            yield "real faces", image, box
    rng, scenes = np.random.default_rng(0), [load(name, folders) for name in SCENES]
    for side in SIDES:
        for number in rng.choice(len(faces), each, replace=False):
            yield "pasted faces", *pasted(scenes[number % len(scenes)], faces[number], side, rng)
    for name in NEGATIVES:
        yield "without people", load(name, folders), None


def start(names, python, file):
    """The sides, each waiting for its first photo."""
    sides = {}
    for name in names:
        where = python["fer" if name.startswith("fer-") else "mien"]
        sides[name] = PeerProcess("photo_predict.py", name.removeprefix("mien-"), file, THREADS, python=where)
        sides[name].read()
    return sides


def race(sides, count, rounds):
    """What each side finds in each photo, a list for each round."""
    answers = {name: [[] for _ in range(count)] for name in sides}
    for turn in range(rounds):
        for number in range(count):
            for name, side in sides.items():
                answers[name][number].append(side.request(number))
        print(f"round {turn + 1} of {rounds}", file=sys.stderr, flush=True)
    return answers


def seconds(answers):
    """Each photo's median over the rounds."""
    return np.array([statistics.median(one["seconds"] for one in rounds) for rounds in answers])


def evaluate(answers, shown):
    """By kind of photo: faces, how many of them were found, finds that are none, and milliseconds a photo."""
    kinds, taken, found = [kind for kind, _, _ in shown], seconds(answers), {}
    for kind in dict.fromkeys(kinds):
        counts, some = Counter(), []
        for number, (what, _, truth) in enumerate(shown):
            if what == kind:
                hits = [truth is not None and hit(box, truth) for box in answers[number][0]["boxes"]]
                counts.update(faces=truth is not None, found=any(hits), extra=len(hits) - any(hits))
                some.append(taken[number])
        found[kind] = {
            "photos": len(some),
            "faces": counts["faces"],
            "found": counts["found"],
            "false_finds": counts["extra"],
            "milliseconds_a_photo": round(1000 * float(np.mean(some)), 1),
        }
    return found


def compare(found, answers):
    """Each of our sides against each of fer's: how many times as fast over all photos, and the faces found by both."""
    rows = []
    for ours in (name for name in found if name.startswith("mien-")):
        for theirs in (name for name in found if name.startswith("fer-")):
            ratio = round(float(seconds(answers[theirs]).sum() / seconds(answers[ours]).sum()), 2)
            faces, false = (
                {name: sum(one[what] for one in found[name]["photos"].values()) for name in (ours, theirs)}
                for what in ("found", "false_finds")
            )
            met = {
                "five_times_as_fast": ratio >= 5, "as_many_faces": faces[ours] >= faces[theirs],
                "no_more_false": false[ours] <= false[theirs],
            }  # fmt: skip
            rows.append({"ours": ours, "theirs": theirs, "times_as_fast": ratio, "found": faces, "false_finds": false,
                         "met": met})  # fmt: skip
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each side on each photo")
    parser.add_argument("--each", type=int, default=10, help="pasted faces of each size")
    parser.add_argument("--without", nargs="+", default=[], metavar="SIDE", help="leave out such as fer-mtcnn")
    parser.add_argument("--work", type=Path, default=Path(".work"), help="where the environments go")
    parser.add_argument("--json", type=Path, dest="out", help="write the figures here")
    options = parser.parse_args()
    shown = list(photos(load_faces(options.data).select("PublicTest").images, options.photos, options.each))
    names = ["fer-haar", "fer-mtcnn", "mien-fast", "mien-accurate"]
    names = [name for name in names if name not in options.without]
    python = {"fer": fer_python(options.work.resolve()), "mien": mien_python(options.work.resolve())}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "photos.npz"
        np.savez(file, **{str(number): image for number, (_, image, _) in enumerate(shown)})
        sides = start(names, python, file)
        answers = race(sides, len(shown), options.rounds)
    found = {name: {"photos": evaluate(answers[name], shown), **side.finish()} for name, side in sides.items()}
    setting = {
        "command": command(__spec__.name),
        "threads": THREADS,
        "rounds": options.rounds,
        "left_out": options.without,
    }
    report = {**setting, "compared": compare(found, answers), "sides": found}
    write_report(report, options.out)


if __name__ == "__main__":
    main()
