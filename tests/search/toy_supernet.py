"""The smallest network of all networks: sums of dense layers and images, for tests of searches."""

import keras
import numpy as np
import tensorflow as tf

from tfgen.search.unas.genotypes import BLOCK_OPERATIONS, BlockGenotype


@keras.saving.register_keras_serializable(package="tfgen_tests")
class ToySupernet(keras.Model):
    """Two stages, each a weighted sum of a layer, of its mean and of nothing."""

    def __init__(self, image_shape=(4, 4, 1), num_classes=3, width=6, name="toy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.image_shape, self.num_classes, self.width = tuple(image_shape), num_classes, width
        self.norm = keras.layers.BatchNormalization(momentum=0.9, scale=False, center=False)
        self.stages = [
            keras.layers.Dense(width, kernel_initializer=keras.initializers.GlorotUniform(k))
            for k in range(2)
        ]
        self.head = keras.layers.Dense(num_classes, kernel_initializer="zeros")
        size = int(np.prod(self.image_shape))
        for layer, before in zip((*self.stages, self.head, self.norm), (size, width, width, width)):
            layer.build((None, before))
        self.built = True

    @property
    def groups(self):
        return {"stage": (2, 3)}

    def genotype(self, choices):
        return BlockGenotype(tuple(BLOCK_OPERATIONS[int(k)] for k in choices["stage"]))

    def call(self, images, architectures, training=False):
        x = tf.reshape(images, [-1, int(np.prod(self.image_shape))])
        for number, layer in enumerate(self.stages):
            weights = architectures["stage"][:, number]
            useful = tf.nn.tanh(layer(x))
            mean = tf.reduce_mean(useful, axis=1, keepdims=True)
            x = weights[:, :1] * useful + weights[:, 1:2] * mean
        return self.head(self.norm(x, training=training))

    def get_config(self):
        return {
            "image_shape": list(self.image_shape),
            "num_classes": self.num_classes,
            "width": self.width,
            "name": self.name,
        }


def toy_data(num=64, seed=0, shape=(4, 4, 1), classes=3):
    """Images whose class is the brightest of their first pixels, in the pairs of searches."""
    rng = np.random.default_rng(seed)
    found = {}
    for kind in ("", "validation_"):
        images = rng.random((num, *shape)).astype(np.float32)
        found[f"{kind}images"] = images
        found[f"{kind}labels"] = images.reshape(num, -1)[:, :classes].argmax(axis=1)
    return found
