"""How much gradients vary from step to step."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from tfgen.ops.checks import in_range


@keras.saving.register_keras_serializable(package="tfgen")
class RunningVariance(keras.layers.Layer):
    """The total variance of a gradient: the running mean of its square less that of its mean.

    While parameters move slowly, it is that of the estimator; what the gradient itself changes
    within the memory is in it too.

    Args:
        size: integer, numbers in the gradient.
        momentum: float, what the past counts in the means. Defaults to `0.99`.
        name: string, the layer's name. Defaults to `"variance"`.

    Raises:
        ConfigError: the momentum is out of [0, 1).
    """

    def __init__(self, size: int, momentum: float = 0.99, name: str = "variance", **kwargs):
        super().__init__(name=name, autocast=False, **kwargs)
        in_range("momentum", momentum, 0.0, below=1.0)
        self.size, self.momentum = int(size), momentum

    def build(self, input_shape=None):
        del input_shape
        options = dict(initializer="zeros", trainable=False, dtype="float32")
        self.mean = self.add_weight(shape=(self.size,), name="mean", **options)
        self.square = self.add_weight(shape=(), name="square", **options)
        # Of the weights of all that was seen, the sum and the sum of squares.
        self.seen = self.add_weight(shape=(), name="seen", **options)
        self.squares_seen = self.add_weight(shape=(), name="squares_seen", **options)
        self.built = True

    def observe(self, gradients: Sequence) -> tuple[tf.Tensor, list[tuple]]:
        """The variance with one more gradient, and the variables with their next values.

        Args:
            gradients: sequence of tensors, one gradient.

        Returns:
            A scalar, and `(variable, value)` pairs; nothing is assigned.
        """
        if not self.built:
            self.build()
        flat = tf.concat([tf.reshape(tf.cast(g, tf.float32), [-1]) for g in gradients], axis=0)
        news = (flat, tf.reduce_sum(flat**2), tf.constant(1.0))
        pairs = []
        for variable, new in zip((self.mean, self.square, self.seen), news):
            before = tf.convert_to_tensor(variable)
            pairs.append((variable, before + (1.0 - self.momentum) * (new - before)))
        mean, square, seen = (value for _, value in pairs)
        new = 1.0 - self.momentum
        squares = self.momentum**2 * tf.convert_to_tensor(self.squares_seen) + new**2
        pairs.append((self.squares_seen, squares))
        spread = square / seen - tf.reduce_sum((mean / seen) ** 2)
        return tf.nn.relu(tf.math.divide_no_nan(spread, 1.0 - squares / seen**2)), pairs

    def get_config(self):
        return {**super().get_config(), "size": self.size, "momentum": self.momentum}
