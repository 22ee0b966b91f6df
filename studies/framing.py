"""How a detector's box lies to FER2013's frame, and what cropping by it costs in accuracy.

Usage: python -m studies.framing --data fer2013.parquet --photos SKIMAGE/data SKLEARN/images --labelled WILD
  [--json OUT]

FER2013's faces of Training are enlarged and laid on a larger canvas that repeats their edge. Where the box lies in
the frame of 48x48 gives the constants of ``mien.inference.detection`` (medians). Then faces of PublicTest are pasted
into photos, found, cropped by the constants and by wider and narrower margins, and classified by ``best``; beside that,
the same faces as they are. So are the portraits of WILD, which has a folder for each emotion.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np

from benchmarks.report import command, write_report
from benchmarks.scenes import SCENES, hit, load, pasted
from mien.data import load_faces
from mien.data.crops import crop_face
from mien.data.decoding import read_image
from mien.data.walk import walk_files
from mien.inference.detection import Framing, YuNet
from mien.models.load import load_bundle
from mien.models.onnx.session import Session

MARGINS = (0.8, 0.85, 0.9, 0.95, 1.0, 1.1, 1.2)
"""Sides of the square in units of the measured one."""


def measure(detect, faces, side=96):
    """Framing by medians, and the middle half of each of its three numbers."""
    found, total = [], len(faces)
    pad = side // 2
    for face in faces:
        large = cv2.resize(face, (side, side), interpolation=cv2.INTER_CUBIC)
        canvas = cv2.copyMakeBorder(large, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
        boxes = [one.box for one in detect(cv2.cvtColor(canvas, cv2.COLOR_GRAY2RGB))]
        boxes = [box for box in boxes if hit(box, (pad, pad, side, side))]
        if boxes:
            left, top, width, height = boxes[0]
            centre = pad + side / 2
            x, y = (centre - left - width / 2) / width, (centre - top - height / 2) / height
            found.append((x, y, side / (width * height) ** 0.5))
    low, middle, high = np.percentile(found, (25, 50, 75), axis=0)
    names = ("right", "down", "side")
    return {
        "faces": total,
        "found": len(found) / total,
        **{name: round(float(value), 3) for name, value in zip(names, middle, strict=True)},
        "middle_half": {
            name: [round(float(a), 3), round(float(b), 3)] for name, a, b in zip(names, low, high, strict=True)
        },
    }


def square(framing, margin, box):
    return Framing(framing["right"], framing["down"], framing["side"] * margin).square(box)


def portraits(detect, framing, folder, session):
    """By margin, the share of labelled portraits whose first face is classified right."""
    crops, truth = {margin: [] for margin in MARGINS}, []
    paths = [Path(path) for path in walk_files(folder)]
    for path in paths:
        image = read_image(path).pixels
        if found := detect(image):
            truth.append(path.parent.name.capitalize())
            for margin in MARGINS:
                crops[margin].append(crop_face(image, square(framing, margin, found[0].box)))
    card = session.bundle.card
    shares = {margin: session.probabilities(np.stack(images))[card.heads[-1]] for margin, images in crops.items()}
    right = {margin: np.array(card.labels)[rows.argmax(1)] == truth for margin, rows in shares.items()}
    by_margin = {str(margin): round(float(hits.sum() / len(paths)), 4) for margin, hits in right.items()}
    return {"photos": len(paths), "found": len(truth), "by_margin": by_margin}


def accuracy(detect, framing, faces, emotion, scenes, session):
    """Accuracy by margin on the faces that were found, and as they are."""
    rng = np.random.default_rng(1)
    crops, kept = {margin: [] for margin in MARGINS}, []
    for number, face in enumerate(faces):
        scene, truth = pasted(scenes[number % len(scenes)], face, int(rng.integers(64, 180)), rng)
        boxes = [one.box for one in detect(scene) if hit(one.box, truth)]
        if boxes:
            kept.append(number)
            for margin in MARGINS:
                crops[margin].append(crop_face(scene, square(framing, margin, boxes[0])))

    def right(images):
        head = next(iter(session.bundle.card.heads))
        return float((session.probabilities(images)[head].argmax(1) == emotion[kept]).mean())

    return {
        "faces": len(faces),
        "found": len(kept) / len(faces),
        "direct": right(faces[kept]),
        "by_margin": {str(margin): right(np.stack(images)) for margin, images in crops.items()},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--labelled", type=Path, required=True)
    parser.add_argument("--faces", type=int, default=1000, help="how many faces of each split, drawn with seed 0")
    parser.add_argument("--json", type=Path, dest="out")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    data, rng = load_faces(options.data), np.random.default_rng(0)
    train, public = data.select("Training"), data.select("PublicTest")
    some = rng.choice(len(train.images), options.faces, replace=False)
    held = np.sort(rng.choice(len(public.images), options.faces, replace=False))
    scenes = [load(name, options.photos) for name in SCENES]
    scenes = [cv2.resize(scene, (320, 256), interpolation=cv2.INTER_AREA) for scene in scenes]
    session = Session(load_bundle("best"), threads=1)
    detect = YuNet(threads=1)
    framing = measure(detect, train.images[some])
    held_out = accuracy(detect, framing, public.images[held], public.emotion[held], scenes, session)
    labelled = portraits(detect, framing, options.labelled, session)
    report = {
        "command": command(__spec__.name),
        "framing": framing,
        "pasted_public": held_out,
        "labelled_portraits": labelled,
    }
    write_report(report, options.out)


if __name__ == "__main__":
    main()
