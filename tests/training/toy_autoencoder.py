"""A model of images that is trained in a moment: what Keras's habits are tried on."""

import keras
import numpy as np
import tensorflow as tf

from tfgen.data.elements import images_of
from tfgen.training import Model, StepOutput


@keras.saving.register_keras_serializable(package="tfgen_tests")
class ToyAutoencoder(Model):
    """Two dense layers under binary cross-entropy; labels are counted if the data have any.

    Args:
        with_labels: whether the loss asks for them.
    """

    def __init__(self, with_labels=False, **kwargs):
        super().__init__(**kwargs)
        self.image_shape, self.with_labels = (4, 4, 1), with_labels
        self.encoder, self.decoder = keras.layers.Dense(3), keras.layers.Dense(16)
        self.encoder.build((None, 16))
        self.decoder.build((None, 3))
        self.built = True

    def call(self, images):
        logits = self.decoder(self.encoder(tf.reshape(images, [-1, 16])))
        return tf.sigmoid(tf.reshape(logits, [-1, *self.image_shape]))

    def training_loss(self, data):
        loss = tf.reduce_mean(self._cross_entropies(images_of(data)))
        logs = {"pixels": tf.reduce_mean(images_of(data))}
        if self.with_labels:
            logs["labels"] = tf.reduce_mean(tf.cast(data["labels"], tf.float32))
        return StepOutput(loss, logs)

    def evaluation_logs(self, data):
        images = images_of(data)
        pixels = tf.reduce_mean(images, axis=[1, 2, 3])
        return {"bias": pixels, "loss": self._cross_entropies(images)}

    def _cross_entropies(self, images):
        return tf.reduce_mean(keras.losses.binary_crossentropy(images, self(images)), axis=[1, 2])

    def get_config(self):
        return {"with_labels": self.with_labels, "name": self.name}


_RNG = np.random.default_rng(0)
LEVELS = _RNG.integers(0, 256, (24, 4, 4, 1)).astype(np.uint8)
IMAGES = (LEVELS / 255).astype(np.float32)
LABELS = np.arange(24) % 3


def make(**options):
    """A compiled model, the same each time."""
    keras.utils.set_random_seed(0)
    model = ToyAutoencoder(**options)
    model.compile(keras.optimizers.Adam(0.05))
    return model
