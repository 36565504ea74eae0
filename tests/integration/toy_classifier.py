"""The smallest system there is, as docs/adding_a_system.md tells to write one: a classifier."""

import keras
import numpy as np
import tensorflow as tf

from tfgen.serving import PORTABLE, Signature
from tfgen.training import Model, StepOutput


@keras.saving.register_keras_serializable(package="tfgen_toy")
class ToyClassifier(Model):
    """Softmax regression on images.

    Args:
        image_shape: `(H, W, C)`.
        num_classes: K.
        seed: of the initial weights.

    Call arguments:
        images: float32 `[B, H, W, C]` in [0, 1].

    Returns:
        Logits `[B, K]`.
    """

    def __init__(self, image_shape=(16, 16, 1), num_classes=10, seed=0, name="toy", **kwargs):
        super().__init__(name=name, seed=seed, **kwargs)
        self.image_shape, self.num_classes = tuple(image_shape), num_classes
        initializer = keras.initializers.GlorotUniform(seed)
        self.dense = keras.layers.Dense(num_classes, kernel_initializer=initializer)

    def build(self, input_shape=None):
        if not self.built:
            self.dense.build((None, int(np.prod(self.image_shape))))
            self.built = True

    def call(self, images):
        return self.dense(tf.reshape(images, [-1, int(np.prod(self.image_shape))]))

    def training_loss(self, data):
        loss = tf.reduce_mean(self._cross_entropies(data))
        return StepOutput(loss, {"cross_entropy": loss})

    def evaluation_logs(self, data):
        return {"cross_entropy": self._cross_entropies(data)}

    def _cross_entropies(self, data):
        return tf.nn.sparse_softmax_cross_entropy_with_logits(data["labels"], self(data["images"]))

    def signatures(self):
        spec = tf.TensorSpec([None, *self.image_shape], tf.float32)
        return {"predict": Signature(self._predict, {"images": spec}, self._example, PORTABLE)}

    def _predict(self, images):
        logits = self(images)
        return {"logits": logits, "probabilities": tf.nn.softmax(logits)}

    def _example(self, batch_size, seed):
        shape = (batch_size, *self.image_shape)
        return {"images": np.random.default_rng(seed).random(shape, np.float32)}

    def get_config(self):
        own = dict(image_shape=self.image_shape, num_classes=self.num_classes, seed=self.seed)
        return {**super().get_config(), **own}
