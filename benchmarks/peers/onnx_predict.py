"""One of our models on face crops, in ONNX Runtime; run by inference.py.

Usage: onnx_predict.py MODEL FACES.npz THREADS
FACES.npz holds images, uint8 (N, 48, 48). Preprocessing, both heads and softmax are in the time (protocol.py).
"""

import sys

from protocol import serve, versions

from mien.models.load import load_bundle
from mien.models.onnx.session import Session
from mien.models.spec import Head


def main(model, faces, threads):
    bundle = load_bundle(model)
    session = Session(bundle, threads=int(threads))
    about = {
        "sha256": bundle.sha256,
        "model_bytes": bundle.path.stat().st_size,
        "versions": versions("onnxruntime", "numpy"),
    }
    serve(lambda images: session.probabilities(images)[Head.LABELS], faces, bundle.card.labels, about)


if __name__ == "__main__":
    main(*sys.argv[1:])
