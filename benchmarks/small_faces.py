"""How small a face may be: what is found by its size, and in large scenes with and without ``min_face``.

Usage: python -m benchmarks.small_faces --data FER2013 --photos PORTRAITS --scenes DIRS --json results/small_faces.json

PORTRAITS is a folder of portraits, one face each; DIRS hold scikit-learn's photos, the scenes' background. Sizes are
sides of the detector's boxes in the reduced image; in the scenes, of the pasted squares of FER2013 and of portraits.
"""

import argparse
import random
import resource
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.report import command, write_report
from benchmarks.scenes import hit, load
from mien import Predictor
from mien.data import load_faces
from mien.data.decoding import read_image
from mien.inference.detection import YuNet, find_detector

SIZES = (12, 16, 18, 20, 22, 24, 28, 32, 40, 48, 64)
SHAPES = ((1536, 1024), (3000, 2000), (6000, 4000))
SIDE, COUNT = 110, 40


def portraits(folder, detector, count=160):
    """(image, box) of portraits in which one face is found beyond doubt."""
    paths = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    random.Random(0).shuffle(paths)
    kept = []
    for path in paths:
        image = read_image(path).pixels
        found = detector(image)
        if len(found) == 1 and found[0].score > 0.8 and (found[0].box[2] * found[0].box[3]) ** 0.5 > 90:
            kept.append((image, found[0].box))
        if len(kept) == count:
            break
    return kept


def by_size(detector, people):
    """Of each size the share of faces found, four on a gray canvas of 512x512."""
    shares = {}
    for size in SIZES:
        found = 0
        for begin in range(0, len(people), 4):
            canvas, truths = np.full((512, 512, 3), 110, np.uint8), []
            for place, (image, box) in enumerate(people[begin : begin + 4]):
                scale = size / (box[2] * box[3]) ** 0.5
                small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)[:256, :256]
                left, top = place % 2 * 256, place // 2 * 256
                canvas[top : top + small.shape[0], left : left + small.shape[1]] = small
                truths.append((left + box[0] * scale, top + box[1] * scale, box[2] * scale, box[3] * scale))
            boxes = [one.box for one in detector(canvas)]
            found += sum(any(hit(box, truth) for box in boxes) for truth in truths)
        shares[size] = found / len(people)
    return shares


def squares(people):
    """The portraits' faces, squares as FER2013 would cut them, in colour."""
    for image, box in people:
        left, top, side, _ = map(round, YuNet.framing.square(box))
        if min(left, top) >= 0 and left + side <= image.shape[1] and top + side <= image.shape[0]:
            yield image[top : top + side, left : left + side]


def scene(shape, faces, grounds, rng):
    """A scene of this width and height, tiled from photos, with faces on a jittered grid, and their boxes."""
    width, height = shape
    tall = np.vstack([np.hstack([grounds[0], grounds[1]]), np.hstack([grounds[1], grounds[0]])])
    image = np.tile(tall, (height // tall.shape[0] + 1, width // tall.shape[1] + 1, 1))[:height, :width].copy()
    across, down, truths = width // 8, height // 5, []
    for place, face in enumerate(faces):
        left = place % 8 * across + int(rng.integers(0, across - SIDE))
        top = place // 8 * down + int(rng.integers(0, down - SIDE))
        large = cv2.resize(face, (SIDE, SIDE), interpolation=cv2.INTER_AREA if len(face) > SIDE else cv2.INTER_CUBIC)
        image[top : top + SIDE, left : left + SIDE] = large if large.ndim == 3 else large[..., None]
        truths.append((left, top, SIDE, SIDE))
    return image, truths


def searched(predictor, image, truths):
    """How many faces are found, how many finds are false or double, and the seconds, the best of three."""
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        found = predictor.predict(image)
        seconds.append(time.perf_counter() - begin)
    hits = [[i for i, truth in enumerate(truths) if hit(face.box, truth)] for face in found.faces]
    once = {one for some in hits for one in some}
    return {
        "found": len(once), "false": sum(not some for some in hits), "double": sum(map(bool, hits)) - len(once),
        "seconds": round(min(seconds), 3), "note": found.note,
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--photos", required=True)
    parser.add_argument("--scenes", required=True, nargs="+")
    parser.add_argument("--json", type=Path, required=True)
    args = parser.parse_args()
    start = time.perf_counter()
    people = portraits(args.photos, YuNet(threads=2))
    grounds = [load(name, args.scenes) for name in ("china.jpg", "flower.jpg")]
    pasted = {
        "FER2013": list(load_faces(args.data).select("PublicTest").images[:COUNT]),
        "portraits": list(squares(people))[:COUNT],
    }
    result = {
        "command": command(__spec__.name),
        "model": {"name": "best", "sha256": Predictor("best").bundle.sha256},
        "by_size": {name: by_size(find_detector(name, threads=2), people) for name in ("fast", "accurate")},
        "faces": COUNT,
        "side": SIDE,
        "scenes": [],
    }
    for shape in SHAPES:
        for kind, faces in pasted.items():
            image, truths = scene(shape, faces, grounds, np.random.default_rng(0))
            for detector, least in (("fast", None), ("fast", SIDE), ("accurate", None)):
                predictor = Predictor("best", threads=2, detector=detector, min_face=least)
                predictor.predict(image[:64, :64])
                one = searched(predictor, image, truths)
                setting = {"scene": "x".join(map(str, shape)), "faces": kind, "detector": detector, "min_face": least}
                result["scenes"].append(setting | one)
                print(result["scenes"][-1])
    result["peak_megabytes"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
    result["wall_seconds"] = round(time.perf_counter() - start, 1)
    write_report(result, args.json, quiet=True)


if __name__ == "__main__":
    main()
