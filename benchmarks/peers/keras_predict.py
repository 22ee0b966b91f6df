"""The article's model on face crops, in Keras on TensorFlow; run by inference.py in an environment of its own.

Usage: keras_predict.py FACES.npz THREADS
FACES.npz holds images, uint8 (N, 48, 48). The weights are drawn at random, which does not change the time. Making three
channels of one, scaling to [0, 1] and softmax are in the time.
"""

import sys

import tensorflow as tf
from keras_train import build, three_channels
from protocol import serve, versions


def main(faces, threads):
    tf.config.threading.set_intra_op_parallelism_threads(int(threads))
    tf.config.threading.set_inter_op_parallelism_threads(1)
    _, model = build(None)
    about = {"parameters": model.count_params(), "versions": versions("keras", "tensorflow-cpu", "numpy")}
    serve(lambda images: model.predict_on_batch(three_channels(images)), faces, None, about)


if __name__ == "__main__":
    main(*sys.argv[1:])
