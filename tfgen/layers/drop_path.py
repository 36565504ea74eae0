"""Drop-path: branches of a network left out at random (Larsson et al., 2017, arXiv:1605.07648)."""

import keras
import tensorflow as tf

from tfgen.ops.checks import in_range


@keras.saving.register_keras_serializable(package="tfgen")
class DropPath(keras.layers.Layer):
    """Drops a branch image by image in training, and scales what is left.

    Its share is a variable, which schedules change: `layer.share.assign(0.1)`.

    Args:
        share: float in [0, 1), probability that an image's branch is dropped.
        seed: integer, seed of the masks; None has a new one each time.
        name: string, the layer's name.

    Call arguments:
        x: `[B, ...]`.
        training: whether to drop. Defaults to `False`.

    Returns:
        Tensor like `x`.

    Raises:
        ConfigError: the share is out of range.
    """

    def __init__(self, share: float, seed: int | None = None, name=None, **kwargs):
        super().__init__(name=name, **kwargs)
        in_range("share", share, 0.0, below=1.0)
        self.initial_share, self.seed = share, seed
        self.noise = keras.random.SeedGenerator(seed)

    def build(self, input_shape=None):
        del input_shape
        self.share = self.add_weight(
            shape=(),
            initializer=keras.initializers.Constant(self.initial_share),
            trainable=False,
            dtype="float32",
            autocast=False,
            name="share",
        )
        self.built = True

    def call(self, x, training=False):
        if not training:
            return x
        kept = 1.0 - tf.convert_to_tensor(self.share)
        shape = (tf.shape(x)[0], *[1] * (len(x.shape) - 1))
        mask = tf.cast(keras.random.uniform(shape, seed=self.noise) < kept, tf.float32) / kept
        return x * tf.cast(mask, x.dtype)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "share": self.initial_share, "seed": self.seed}
