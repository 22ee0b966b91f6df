"""The article's pipeline in Keras on TensorFlow; run by keras_epoch.py inside a virtual environment of its own.

Usage: keras_train.py FACES.npz WEIGHTS.h5 HEAD_EPOCHS FINE_EPOCHS
FACES.npz holds train_images, train_labels, val_images, val_labels. Before each epoch it waits for a line on its input;
after each it prints the epoch's figures as a line of JSON.
"""

import json
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from tensorflow.keras.preprocessing.image import ImageDataGenerator

BATCH = 64


def three_channels(images):
    return np.repeat(images[..., None].astype(np.float32) / 255.0, 3, axis=3)


def build(weights):
    base = keras.applications.MobileNet(input_shape=(48, 48, 3), include_top=False, weights=None)
    if weights:
        base.load_weights(weights)
    base = keras.Model(base.input, base.get_layer("conv_pw_12_relu").output)
    inputs = keras.Input((48, 48, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(base(inputs, training=False))
    return base, keras.Model(inputs, keras.layers.Dense(7, activation="softmax")(pooled))


class Turns(keras.callbacks.Callback):
    """Waits for its turn before each epoch, and reports the epoch's seconds, validation included."""

    def on_epoch_begin(self, epoch, logs=None):
        sys.stdin.readline()
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        print(json.dumps({"seconds": time.perf_counter() - self.start, **logs}), flush=True)


def fit(model, rate, epochs, data, val, weights):
    model.compile(keras.optimizers.Adam(rate), loss="categorical_crossentropy", metrics=["accuracy"])
    model.fit(data, epochs=epochs, validation_data=val, class_weight=weights, callbacks=[Turns()], verbose=0)


def main(faces, weights, head_epochs, fine_epochs):
    keras.utils.set_random_seed(0)
    arrays = np.load(faces)
    images, labels = three_channels(arrays["train_images"]), arrays["train_labels"]
    augment = ImageDataGenerator(
        rotation_range=0.15,
        width_shift_range=0.15,
        height_shift_range=0.15,
        shear_range=0.15,
        zoom_range=0.15,
        horizontal_flip=True,
        fill_mode="nearest",
    )
    data = augment.flow(images, keras.utils.to_categorical(labels, 7), batch_size=BATCH)
    val = (three_channels(arrays["val_images"]), keras.utils.to_categorical(arrays["val_labels"], 7))
    share = dict(enumerate(np.bincount(labels, minlength=7) / len(labels)))
    base, model = build(weights)
    base.trainable = False
    fit(model, 0.01, int(head_epochs), data, val, share)
    base.trainable = True
    fit(model, 0.0001, int(fine_epochs), data, val, share)
    versions = {"keras": keras.__version__, "tensorflow": tf.__version__, "python": sys.version.split()[0]}
    print(json.dumps({"parameters": model.count_params(), "versions": versions}), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
