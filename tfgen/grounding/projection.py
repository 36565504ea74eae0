"""The small networks of the critic: keys and values of regions, queries and values of words."""

import math

import keras
import tensorflow as tf

from tfgen.ops.affine import affine
from tfgen.ops.batch_norm import normalize_rows
from tfgen.ops.checks import in_range, whole_number
from tfgen.ops.random_streams import hashed

EPSILON = 1e-5


@keras.saving.register_keras_serializable(package="tfgen")
class Projection(keras.Layer):
    """Dense layers to d dimensions, with batch normalisation and ReLU after all but the last.

    Initial weights are uniform with variance 1 / (3 fan-in), and the statistics move by a tenth at
    a time, as in the published model; hidden layers are as wide as the input.

    Statistics of a batch are of the rows that a mask keeps. They are returned and not assigned, so
    that a step which is skipped moves none (see `tfgen.training.StepOutput`).

    Args:
        input_dims: integer, width of the features.
        dims: integer d, width of the output. Defaults to `384`.
        num_layers: integer, 1 (linear) to 3 dense layers. Defaults to `2`.
        momentum: float, share of the running statistics that stays. Defaults to `0.9`.
        seed: integer, seed of the initial weights. Defaults to `0`.
        name: string, the layer's name. Defaults to `"projection"`.

    Call arguments:
        x: `[..., input_dims]` features.

    Returns:
        `[..., dims]`, with the running statistics.

    Raises:
        ConfigError: a number is out of range.
    """

    def __init__(
        self,
        input_dims,
        dims=384,
        num_layers=2,
        momentum=0.9,
        seed=0,
        name="projection",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.input_dims = whole_number("input_dims", input_dims, 1)
        self.dims = whole_number("dims", dims, 1)
        self.num_layers = whole_number("num_layers", num_layers, 1, 3)
        in_range("momentum", momentum, 0.0, below=1.0)
        self.momentum, self.seed = momentum, int(seed)
        self.hidden = [self._dense(i, input_dims) for i in range(num_layers - 1)]
        self.last = self._dense(num_layers - 1, dims)

    def _dense(self, index, units):
        # Set once at the end of __init__, where Keras knows the layer's name.
        limit = 1.0 / math.sqrt(self.input_dims)
        seeds = [hashed(self.seed, self.name, index, part) % 2**31 for part in ("kernel", "bias")]
        return keras.layers.Dense(
            units,
            kernel_initializer=keras.initializers.RandomUniform(-limit, limit, seeds[0]),
            bias_initializer=keras.initializers.RandomUniform(-limit, limit, seeds[1]),
            dtype=self.dtype_policy,
            name=f"dense_{index}",
        )

    def build(self, input_shape=None):
        if self.built:
            return
        for layer in (*self.hidden, self.last):
            layer.build((None, self.input_dims))
        self.norms = [self._norm(index) for index in range(len(self.hidden))]
        self.built = True

    def _norm(self, index):
        def weight(name, start, trainable):
            return self.add_weight(
                shape=(self.input_dims,),
                initializer=start,
                trainable=trainable,
                dtype="float32",
                autocast=False,
                name=f"{name}_{index}",
            )

        return {
            "gamma": weight("gamma", "ones", True),
            "beta": weight("beta", "zeros", True),
            "mean": weight("moving_mean", "zeros", False),
            "variance": weight("moving_variance", "ones", False),
        }

    def call(self, x):
        x = tf.cast(x, self.compute_dtype)
        for dense, norm in zip(self.hidden, self.norms):
            x = _normalised(dense(x), norm["mean"], norm["variance"], norm)
        return self.last(x)

    def train(self, x, mask=None, statistics=None):
        """The output by the statistics of this batch, and the running ones after it.

        Args:
            x: `[..., input_dims]` features.
            mask: floats `[...]`, 1 for the rows whose statistics count; None: all do.
            statistics: list of tensors, the running statistics before this batch, as this method
                returns them; None: those of the layer.

        Returns:
            `[..., dims]` and the list of running statistics after it, to be paired with
            `self.statistics()`.
        """
        rows = tf.reshape(tf.cast(x, self.compute_dtype), [-1, self.input_dims])
        counts = tf.ones_like(rows[:, 0]) if mask is None else tf.reshape(mask, [-1])
        counts = tf.cast(counts, tf.float32)
        count, after = tf.reduce_sum(counts), []
        before = [v.value for v in self.statistics()] if statistics is None else statistics
        for index, (dense, norm) in enumerate(zip(self.hidden, self.norms)):
            # Whatever their bias adds is taken off with the mean.
            rows = affine(rows, dense.kernel, dense.bias, bias_matters=False)
            rows, mean, variance = _normalised_by_batch(rows, norm, counts)
            # What is kept for inference is the unbiased variance, as in the published model.
            unbiased = variance * count / tf.maximum(count - 1.0, 1.0)
            moved = [
                tf.where(count > 0, self.momentum * old + (1.0 - self.momentum) * new, old)
                for old, new in zip(before[2 * index : 2 * index + 2], (mean, unbiased))
            ]
            after += [tf.stop_gradient(value) for value in moved]
        y = affine(rows, self.last.kernel, self.last.bias)
        y = tf.reshape(y, [*tf.unstack(tf.shape(x)[:-1]), self.dims])
        return tf.ensure_shape(y, self.compute_output_shape(x.shape)), after

    def statistics(self) -> list[keras.Variable]:
        """The variables of the running statistics, mean and variance of each hidden layer."""
        return [norm[name] for norm in self.norms for name in ("mean", "variance")]

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.dims)

    def get_config(self):
        return {
            **super().get_config(),
            "input_dims": self.input_dims,
            "dims": self.dims,
            "num_layers": self.num_layers,
            "momentum": self.momentum,
            "seed": self.seed,
        }


def _normalised_by_batch(rows, norm, counts):
    """ReLU of batch norm by all rows that count; their mean and biased variance, float32 `[d]`."""
    weights = (tf.convert_to_tensor(norm[name]) for name in ("gamma", "beta"))
    y, mean, variance = normalize_rows(tf.cast(rows, tf.float32), *weights, counts, EPSILON)
    return tf.cast(y, rows.dtype), mean, variance


def _normalised(x, mean, variance, norm):
    wide = tf.cast(x, tf.float32)
    y = tf.nn.batch_normalization(
        wide,
        tf.convert_to_tensor(mean),
        tf.convert_to_tensor(variance),
        norm["beta"].value,
        norm["gamma"].value,
        EPSILON,
    )
    return tf.cast(tf.nn.relu(y), x.dtype)
