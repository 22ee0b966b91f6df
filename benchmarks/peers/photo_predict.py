"""Faces and emotions of whole photos; run by end_to_end.py, for fer inside a virtual environment of its own.

Usage: photo_predict.py fer-haar|fer-mtcnn|fast|accurate PHOTOS.npz THREADS
PHOTOS.npz holds RGB photos, uint8 (H, W, 3), under the numbers from 0. It prints {} once it is ready. For each number
on its input it prints, as a line of JSON, the seconds of that photo, from the array to named faces, and the faces'
boxes; when its input ends, what it is. fer gets its defaults, and BGR, as it expects; we get the shipped model best.
"""

import sys
import time

import numpy as np
from protocol import peak_bytes, reply, versions


def fer_finder(detector, threads):
    import cv2
    import tensorflow as tf
    from fer.fer import FER

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    cv2.setNumThreads(threads)
    packages = ["fer", "tensorflow", "opencv-contrib-python"]
    if detector == "fer-mtcnn":
        import torch

        torch.set_num_threads(threads)
        packages += ["facenet-pytorch", "torch", "torchvision"]
    network = FER(mtcnn=detector == "fer-mtcnn")

    def find(photo):
        return [list(map(int, one["box"])) for one in network.detect_emotions(photo)]

    return find, lambda photo: np.ascontiguousarray(photo[..., ::-1]), versions(*packages)


def our_finder(detector, threads):
    import cv2

    from mien import Predictor

    cv2.setNumThreads(threads)
    network = Predictor("best", threads=threads, detector=detector)

    def find(photo):
        return [list(face.box) for face in network.predict(photo).faces]

    return find, lambda photo: photo, versions("onnxruntime", "opencv-python-headless")


def main(detector, file, threads):
    finder = fer_finder if detector.startswith("fer-") else our_finder
    find, prepared, packages = finder(detector, int(threads))
    with np.load(file) as arrays:
        photos = [prepared(arrays[str(number)]) for number in range(len(arrays.files))]
    find(photos[0])
    reply({})
    for line in sys.stdin:
        photo = photos[int(line)]
        start = time.perf_counter()
        boxes = find(photo)
        reply({"seconds": time.perf_counter() - start, "boxes": boxes})
    reply({"versions": packages, "peak_megabytes": round(peak_bytes() / 1e6, 1)})


if __name__ == "__main__":
    main(*sys.argv[1:])
