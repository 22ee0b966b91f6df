"""One of our models on face crops, in PyTorch; run by inference.py.

Usage: torch_predict.py MODEL FACES.npz THREADS
FACES.npz holds images, uint8 (N, 48, 48). Preprocessing, both heads and softmax are in the time (protocol.py).
"""

import sys

import torch
from protocol import serve, versions

from mien.models.load import load_bundle
from mien.models.networks.build import load_network
from mien.models.preprocessing import prepare
from mien.models.spec import Head


def main(model, faces, threads):
    torch.set_num_threads(int(threads))
    bundle = load_bundle(model)
    network, card = load_network(bundle), bundle.card

    @torch.inference_mode()
    def answer(images):
        batch = torch.from_numpy(prepare(images, card.preprocessing)).contiguous(memory_format=torch.channels_last)
        rows = {head: logits / card.calibration.of(head) for head, logits in network.every(batch).items()}
        return {head: torch.softmax(one, 1) for head, one in rows.items()}[Head.LABELS].numpy()

    about = {
        "sha256": bundle.sha256,
        "model_bytes": bundle.path.stat().st_size,
        "versions": versions("torch", "numpy"),
    }
    serve(answer, faces, card.labels, about)


if __name__ == "__main__":
    main(*sys.argv[1:])
