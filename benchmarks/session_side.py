"""One of our models on face crops; run by against_fer.py.

Usage: session_side.py MODEL FACES.npz BATCH THREADS
FACES.npz holds images, uint8 (N, 48, 48). It prints {} once it is ready. After each line on its input it names every
face and prints the seconds as a line of JSON, preprocessing, both heads and softmax included; when its input ends, what
its label head said.
"""

import json
import sys
import time

import numpy as np

from mien.model.bundle import load_bundle
from mien.model.session import Session
from mien.model.spec import Head


def main(model, faces, batch, threads):
    images, bundle = np.load(faces)["images"], load_bundle(model)
    session = Session(bundle, threads=int(threads))
    size = int(batch)
    session.probabilities(images[:size])
    print("{}", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        parts = [session.probabilities(images[at : at + size])[Head.LABELS] for at in range(0, len(images), size)]
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)
    rows = np.concatenate(parts)
    said = [bundle.card.labels[number] for number in rows.argmax(1)]
    print(json.dumps({"said": said, "sha256": bundle.sha256, "bytes": bundle.path.stat().st_size}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
