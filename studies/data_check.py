"""The data check: how it grows with the data, and how much of planted faults it finds.

    python -m studies.data_check --data fer2013.parquet --json results/data_check_scaling.json
    python -m studies.data_check --data fer2013.parquet --planted runs/article --json results/data_check_planted.json

Growth: the command itself, reading included, cold and from the cache; then the check alone at 1x, 2x and 4x, each size
in a fresh process. The larger sets are the data and changed copies of it: `others` are turned by about -20, 20 and -45
degrees and enlarged by 20 to 30 %, so that few are near duplicates; `copies` have noise of up to 3 gray levels, so that
every face has as many near duplicates as there are copies, the hardest case.

Planted faults: in the faces of the data without any twin, some are copied, changed (as the tests change them) and made
blank; 2 % of the labels of test faces are flipped, thrice.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.report import command, write_report
from mien.data import Faces, load_faces
from mien.data.faces import join
from mien.data.ferplus import majority_targets
from mien.data.quality.checks import Copies, Kind, check_faces, find_copies
from mien.data.quality.label_noise import by_model, by_votes
from mien.emotions import FERPLUS_OF_EMOTION
from mien.models.load import load_bundle
from mien.models.onnx.session import Session

SIZES = (("others", 1), ("others", 2), ("others", 4), ("copies", 2), ("copies", 4))
EACH = 300


def noisy(image: NDArray[np.uint8], _: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    return (image + rng.integers(-3, 4, image.shape, dtype=np.int16)).clip(0, 255).astype(np.uint8)


def turned(image: NDArray[np.uint8], copy: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    angle = (-20, 20, -45)[copy] + rng.uniform(-3, 3)
    move = cv2.getRotationMatrix2D((23.5, 23.5), angle, rng.uniform(1.2, 1.3))
    return cv2.warpAffine(image, move, (48, 48), borderMode=cv2.BORDER_REFLECT).astype(np.uint8)


def child(data: Path, kind: str, scale: int) -> None:
    """Check the data `scale` times over and print the figures as JSON."""
    faces = load_faces(data)
    rng = np.random.default_rng(0)
    change = turned if kind == "others" else noisy
    parts = [faces]
    for copy in range(scale - 1):
        parts.append(replace(faces, images=np.stack([change(image, copy, rng) for image in faces.images])))
    faces = join(parts, f"{scale}x")
    parts.clear()
    loaded = resource.getrusage(resource.RUSAGE_SELF)
    start = time.perf_counter()
    figures = check_faces(faces).figures
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu = used.ru_utime + used.ru_stime - loaded.ru_utime - loaded.ru_stime
    row = {"kind": kind, "scale": scale, "rows": len(faces), "images_mb": round(faces.images.nbytes / 2**20)}
    row |= {"seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "peak_mb": round(used.ru_maxrss / 1024)}
    print(json.dumps(row | {name: figures[name] for name in ("duplicate_groups", "near_duplicate_groups")}))


def run_command(data: Path, cache: str) -> dict[str, float]:
    """Run the command itself in a fresh process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    line = [sys.executable, "-m", "mien", "data", "check", str(data), "--json"]
    subprocess.run(line, env=os.environ | {"MIEN_CACHE": cache}, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2), "peak_mb": round(used.ru_maxrss / 1024)}


def plant(data: Path, model: Path) -> dict[str, object]:
    """Plant known faults in faces that have no twin, and count what is found: recall and precision of each finding."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from support.faulty_faces import CHANGES

    rng = np.random.default_rng(0)
    faces = load_faces(data)
    copies = find_copies(faces.images)
    alone = np.bincount(copies.near, minlength=len(faces))[copies.near] == 1
    base = faces.take(alone & ~copies.constant & ~copies.near_blank)
    chosen = rng.choice(len(base), EACH * (len(CHANGES) + 2), replace=False).reshape(-1, EACH)
    blanks, copied, *sources = chosen
    base.images[blanks[: EACH // 2]] = 90
    base.images[blanks[EACH // 2 :]] = rng.integers(100, 108, (EACH - EACH // 2, 48, 48))
    changed = [CHANGES[name](base.images[i], rng) for name, some in zip(CHANGES, sources, strict=True) for i in some]
    extra = base.take(np.concatenate([copied, *sources]))
    extra.images[EACH:] = changed
    quality = check_faces(join([base, extra], "planted"))
    n = len(base)

    def found(kind: Kind) -> set[int]:
        return {one.face for one in quality.of(kind) if one.face is not None}

    identical = {*copied.tolist(), *range(n, n + EACH)} | set(blanks[: EACH // 2].tolist())
    results = {
        "identical": score(found(Kind.DUPLICATE), identical),
        "constant": score(found(Kind.CONSTANT), set(blanks[: EACH // 2].tolist())),
        "near-blank": score(found(Kind.NEAR_BLANK), set(blanks[EACH // 2 :].tolist())),
    }
    near = found(Kind.NEAR_DUPLICATE)
    for place, name in enumerate(CHANGES):
        first = n + EACH * (place + 1)
        results[f"near: {name}"] = {"planted": EACH, "recall": len(near & {*range(first, first + EACH)}) / EACH}
    wanted = {*np.concatenate(sources).tolist(), *range(n + EACH, len(quality.faces))}
    results["near: all"] = score(near, wanted)
    return {"faces": len(quality.faces), "findings": results, "flips": flips(faces, copies, model)}


def score(found: set[int], wanted: set[int]) -> dict[str, float]:
    hits = len(found & wanted)
    rates = {"recall": round(hits / len(wanted), 4), "precision": round(hits / max(1, len(found)), 4)}
    return {"planted": len(wanted), "found": len(found), **rates}


def flips(faces: Faces, copies: Copies, model: Path) -> dict[str, object]:
    """Flip 2 % of the test labels, of all unseen faces and of those whose label the FER+ majority confirms."""
    bundle = load_bundle(model)
    unseen = faces.take(~copies.seen_in(faces.usage == 0))
    probabilities = Session(bundle).probabilities(unseen.images)["labels"]
    confirmed = majority_targets(unseen.votes) == np.array(FERPLUS_OF_EMOTION)[unseen.emotion]
    results: dict[str, object] = {"model": bundle.card.name, "sha256": bundle.sha256}
    for name, mask in (("labels that votes confirm", confirmed), ("all labels", np.ones(len(unseen), bool))):
        rows = []
        for seed in range(3):
            some = unseen.take(mask)
            rng = np.random.default_rng(seed)
            wrong = rng.choice(len(some), len(some) // 50, replace=False)
            some.emotion[wrong] = (some.emotion[wrong] + rng.integers(1, 7, len(wrong))) % 7
            every = np.ones(len(some), bool)
            for source, found in (
                ("model", by_model(some, probabilities[mask], every)),
                ("votes", by_votes(some)),
            ):
                row = score({one.face for one in found}, set(wrong.tolist()))
                rows.append({"seed": seed, "by": source, "faces": len(some), **row})
        results[name] = rows
    return results


def grow(data: Path) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as cache:
        runs = {way: run_command(data, cache) for way in ("cold", "cached")}
    print(json.dumps(runs), flush=True)
    rows = []
    for kind, scale in SIZES:
        line = [sys.executable, "-m", "studies.data_check", "--data", str(data), "--child", kind, "--scale", str(scale)]
        rows.append(json.loads(subprocess.run(line, check=True, capture_output=True, text=True).stdout))
        print(json.dumps(rows[-1]), flush=True)
    return {"command": runs, "check": rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument(
        "--planted", type=Path, metavar="MODEL", help="plant faults, with this model for suspect labels"
    )
    parser.add_argument("--child", help=argparse.SUPPRESS)
    parser.add_argument("--scale", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        child(arguments.data, arguments.child, arguments.scale)
        return
    result = plant(arguments.data, arguments.planted) if arguments.planted else grow(arguments.data)
    load = [round(value, 1) for value in os.getloadavg()]
    result |= {"threads": os.environ.get("OMP_NUM_THREADS"), "load_average": load}
    write_report(result | {"command_line": command(__spec__.name)}, arguments.json)


if __name__ == "__main__":
    main()
