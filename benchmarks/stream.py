"""Training data from shards against training data in memory: faces a second, seconds a step, peak memory.

Usage: python -m benchmarks.stream --data D [--weights H5] [--rows N ...] [--threads N] [--rounds N] [--round STEPS]
    [--json OUT]

For each number of rows, FER2013's Training faces are repeated until there are so many, and written as shards into a
temporary folder (2.3 GB a million). Two processes take turns, one with the faces in memory as `mien train fast` holds
them, one that streams them as with `--stream`: passes over all batches without training or augmentation, then rounds of
training steps of the recipe fast. The ratio is that of the seconds of a round, streamed over in memory. Both read from
the page cache or the disk as the system has it; nothing is flushed.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks.peer_process import PeerProcess
from benchmarks.report import command, write_report
from mien.data import load_faces
from mien.data.shards.reader import Shards
from mien.data.shards.writer import write_shards

BLOCK = 4096


def repeated(faces, rows):
    """Training faces in blocks, over and over until there are ``rows``; then PublicTest once."""
    training = faces.select("Training")
    for start in range(0, rows, BLOCK):
        yield training.take(np.arange(start, min(start + BLOCK, rows)) % len(training))
    yield faces.select("PublicTest")


def start(options, how, root):
    """A process that has read the data, with what it took."""
    weights = ["--weights", options.weights] if options.weights else []
    settings = {"OMP_NUM_THREADS": str(options.threads), "OMP_WAIT_POLICY": "passive"}
    side = PeerProcess("stream_train.py", how, root, *weights, **settings)
    side.ready = side.read()
    return side


def written(faces, rows, root):
    start = time.perf_counter()
    write_shards(repeated(faces, rows), root)
    seconds = time.perf_counter() - start
    size = sum(path.stat().st_size for path in root.iterdir())
    total = len(Shards.open(root))
    return {
        "faces": total,
        "files": len(list(root.glob("*.parquet"))),
        "bytes_a_face": round(size / total, 1),
        "seconds": round(seconds, 2),
        "faces_a_second": round(total / seconds),
    }


def compare(options, faces, rows, root):
    report = {"training_faces": rows, "shards": written(faces, rows, root)}
    sides = {how: start(options, how, root) for how in ("memory", "stream")}
    passes, rounds = ({how: [] for how in sides} for _ in range(2))
    for number in range(options.passes):
        for how in sorted(sides, reverse=bool(number % 2)):
            passes[how].append(sides[how].request("pass"))
    fed = {how: sides[how].request("peak") for how in sides}
    for number in range(options.rounds + 1):
        for how in sorted(sides, reverse=bool(number % 2)):
            found = sides[how].request(options.round)
            if number:  # the first round warms up
                rounds[how].append(found)
    report |= {how: summary(sides[how], passes[how], rounds[how], fed[how]) for how in sides}
    pairs = zip(rounds["stream"], rounds["memory"], strict=True)
    ratios = sorted(one["seconds"] / other["seconds"] for one, other in pairs)
    for side in sides.values():
        side.close()
    spread = {"median": statistics.median(ratios), "least": ratios[0], "most": ratios[-1]}
    return report | {"step_ratio": {name: round(value, 3) for name, value in spread.items()}}


def summary(side, passes, rounds, fed):
    return {
        "seconds_until_ready": round(side.ready["seconds"], 2),
        "pass_faces_a_second": round(max(one["faces"] / one["seconds"] for one in passes)),
        "training_faces_a_second": round(statistics.median(one["faces"] / one["seconds"] for one in rounds), 1),
        "peak_mb_fed": round(fed / 2**20),
        "peak_mb_trained": round(side.request("peak") / 2**20),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="FER2013 with FER+ votes")
    parser.add_argument("--weights", type=Path, help="the ImageNet weights in Keras' layout; by default the package's")
    parser.add_argument("--rows", type=int, nargs="+", default=[28_709, 1_000_000])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--passes", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--round", type=int, default=20, help="training steps a round")
    parser.add_argument("--work", type=Path, help="where the temporary folder goes")
    parser.add_argument("--json", type=Path, dest="out", help="write the figures here")
    options = parser.parse_args()
    faces, sets = load_faces(options.data), []
    for rows in options.rows:
        with tempfile.TemporaryDirectory(dir=options.work) as name:
            sets.append(compare(options, faces, rows, Path(name) / "shards"))
        print(json.dumps(sets[-1]), file=sys.stderr, flush=True)
    report = {
        "command": command(__spec__.name),
        "threads": options.threads,
        "rounds": options.rounds,
        "steps_a_round": options.round,
        "sets": sets,
    }
    write_report(report, options.out)


if __name__ == "__main__":
    main()
