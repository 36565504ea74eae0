"""Small classifiers of noisy patterns, made in each of the ways that Keras knows."""

import keras
import numpy as np
import tensorflow as tf

from tfgen.ood.evaluation import Classifier

SHAPE, NUM_CLASSES = (6, 6, 1), 3
RNG = np.random.default_rng(0)
PATTERNS = RNG.random((NUM_CLASSES, *SHAPE)).astype(np.float32)


def images_of(labels, seed):
    """Noisy patterns of some classes."""
    noise = np.random.default_rng(seed).random((len(labels), *SHAPE), np.float32)
    return (0.7 * PATTERNS[labels] + 0.3 * noise).astype(np.float32)


LABELS = np.arange(150) % NUM_CLASSES
TRAIN, TEST = images_of(LABELS, 1), images_of(LABELS[:90], 2)
NOISE = np.random.default_rng(3).random((60, *SHAPE), np.float32)


def solved(features, labels=LABELS):
    """Kernel and bias of a linear classifier by least squares, sharp enough to be sure."""
    rows = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    weights = np.linalg.lstsq(rows, 8.0 * np.eye(NUM_CLASSES)[labels], rcond=None)[0]
    return [weights[:-1], weights[-1]]


@keras.saving.register_keras_serializable(package="pattern_classifiers")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.last = keras.layers.Dense(NUM_CLASSES)  # first in the list of layers, last in the pass
        self.first = keras.layers.Dense(8, "relu")

    def call(self, images):
        return self.last(self.first(tf.reshape(images, [-1, 36])))


def classifier(kind, seed=0):
    """A small classifier that is right, made in one of the ways that Keras knows."""
    layers = keras.layers
    keras.utils.set_random_seed(seed)
    trunk = [layers.Flatten(), layers.Dense(8, "relu", name="hidden")]
    if kind == "functional":
        x = inputs = keras.Input(SHAPE)
        for layer in trunk:
            x = layer(x)
        model = keras.Model(inputs, layers.Softmax()(layers.Dense(NUM_CLASSES, name="last")(x)))
    elif kind == "sequential":
        last = layers.Dense(NUM_CLASSES, "softmax", name="last")
        model = keras.Sequential([keras.Input(SHAPE), *trunk, last])
    elif kind == "nested":
        inner = keras.Sequential([keras.Input(SHAPE), *trunk])
        outer = keras.Sequential([keras.Input((8,)), layers.Dense(NUM_CLASSES, name="last")])
        inputs = keras.Input(SHAPE)
        model = keras.Model(inputs, outer(inner(inputs)))
    else:
        model = Subclassed()
        model(TRAIN[:1])
    last = model.last if kind == "subclassed" else last_of(model)
    last.set_weights(solved(Classifier(model, SHAPE).outputs(TRAIN)["features"].numpy()))
    return model


def last_of(model):
    return next(layer for layer in model._flatten_layers() if layer.name == "last")


KINDS = ("functional", "sequential", "nested", "subclassed")
