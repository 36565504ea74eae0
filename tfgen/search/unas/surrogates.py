"""Stand-ins for what is measured: linear in the choices, fitted to measurements.

Latencies of blocks nearly add up, so that a sum over the choices predicts a network's well. As a
control variate it need not be right: the estimate stays unbiased (UNAS, arXiv:1912.07651).
"""

import dataclasses
from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.ops.checks import in_range


@dataclasses.dataclass(frozen=True)
class LinearSurrogate:
    """A constant and a number for every choice of every factor.

    Attributes:
        weights: dict of group name -> `[factors, choices]` float64.
        constant: float, what all architectures have.
    """

    weights: dict[str, np.ndarray]
    constant: float

    def __call__(self, architectures: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Predictions, `[B]`.

        Args:
            architectures: dict of group name -> `[B, factors, choices]`, one-hot or relaxed.
        """
        parts = [
            tf.einsum("bfk,fk->b", value, tf.cast(self.weights[name], value.dtype))
            for name, value in architectures.items()
        ]
        return tf.add_n(parts) + tf.cast(self.constant, parts[0].dtype)


def fit_linear_surrogate(
    architectures: Mapping[str, np.ndarray], values: np.ndarray, penalty: float = 1.0
) -> LinearSurrogate:
    """The ridge regression of measurements on one-hot architectures.

    Args:
        architectures: dict of group name -> `[N, factors, choices]` one-hot array.
        values: `[N]` measurements, such as milliseconds.
        penalty: float, weight of the squares of all coefficients, the constant's too. Defaults to
            `1.0`.

    Raises:
        UserError: there are no measurements, or some are not finite.
    """
    from sklearn.linear_model import Ridge

    values = finite_measurements(values)
    parts = {name: np.asarray(value, np.float64) for name, value in architectures.items()}
    count = len(values)
    columns = [part.reshape(count, -1) for part in parts.values()]
    design = np.concatenate([*columns, np.ones((count, 1))], axis=1)
    found = Ridge(alpha=penalty, fit_intercept=False).fit(design, values).coef_
    ends = np.cumsum([column.shape[1] for column in columns])
    rows = np.split(found[:-1], ends[:-1])
    weights = {name: row.reshape(parts[name].shape[1:]) for (name, row) in zip(parts, rows)}
    return LinearSurrogate(weights, float(found[-1]))


@keras.saving.register_keras_serializable(package="tfgen")
class OnlineSurrogate(keras.layers.Layer):
    """The ridge regression of all measurements so far, made better by every new one.

    Recursive least squares: after measurements in any order and in batches of any size it is what
    `fit_linear_surrogate` makes of all of them at once. With a memory below 1 old measurements
    fade, so that it follows a device that becomes slower.

    Args:
        groups: mapping of group name -> pair of integers, factors and choices of each.
        penalty: float, weight of the squares of all coefficients. Defaults to `1.0`.
        memory: float in (0, 1], what a measurement still counts one update later. Defaults to
            `1.0`.
        name: string, the layer's name. Defaults to `"surrogate"`.

    Call arguments:
        architectures: dict of group name -> `[B, factors, choices]`, one-hot or relaxed.

    Returns:
        Predictions, `[B]` float32.

    Raises:
        ConfigError: a number is out of range.
    """

    def __init__(self, groups, penalty=1.0, memory=1.0, name="surrogate", **kwargs):
        super().__init__(name=name, autocast=False, **kwargs)
        in_range("penalty", penalty, 0.0, above=True)
        in_range("memory", memory, 0.0, above=True, most=1.0)
        self.groups = {str(key): tuple(map(int, shape)) for key, shape in groups.items()}
        self.penalty, self.memory = penalty, memory

    def build(self, input_shape=None):
        del input_shape
        size = 1 + sum(count * choices for count, choices in self.groups.values())
        options = dict(trainable=False, dtype="float64")  # squares of small differences matter
        self.coefficients = self.add_weight(
            shape=(size,), initializer="zeros", name="coefficients", **options
        )
        self.covariance = self.add_weight(
            shape=(size, size),
            initializer=keras.initializers.Identity(1.0 / self.penalty),
            name="covariance",
            **options,
        )
        self.built = True

    def call(self, architectures):
        # Coefficients are fixed meanwhile: gradients go to the architectures alone.
        coefficients = tf.stop_gradient(tf.cast(self.coefficients, tf.float32))
        return tf.linalg.matvec(self._design(architectures, tf.float32), coefficients)

    def updates(self, architectures, values) -> list[tuple]:
        """Its variables with their values after new measurements; nothing is assigned.

        Args:
            architectures: dict of group name -> `[B, factors, choices]` one-hot floats.
            values: `[B]` measurements.
        """
        if not self.built:
            self.build()
        x = tf.stop_gradient(self._design(architectures, tf.float64))
        covariance = tf.convert_to_tensor(self.covariance) / self.memory
        before = tf.convert_to_tensor(self.coefficients)
        spread = tf.matmul(covariance, x, transpose_b=True)
        own = tf.eye(tf.shape(x)[0], dtype=tf.float64) + tf.matmul(x, spread)
        gain = tf.linalg.solve(own, tf.transpose(spread))
        error = tf.cast(values, tf.float64) - tf.linalg.matvec(x, before)
        after = before + tf.linalg.matvec(gain, error, transpose_a=True)
        covariance -= tf.matmul(spread, gain)
        covariance = (covariance + tf.transpose(covariance)) / 2.0  # else rounding adds up
        return [(self.coefficients, after), (self.covariance, covariance)]

    def fit(self, architectures, values) -> None:
        """Takes many measurements in at once, before a search.

        Args:
            architectures: dict of group name -> `[N, factors, choices]` one-hot array.
            values: `[N]` measurements.

        Raises:
            UserError: there are none, or some are not finite.
        """
        values = finite_measurements(values)
        for start in range(0, len(values), 256):
            part = slice(start, start + 256)
            rows = {key: tf.constant(row[part]) for key, row in architectures.items()}
            for variable, value in self.updates(rows, values[part]):
                variable.assign(value)

    def _design(self, architectures, dtype):
        """One row of choices for every architecture, and a one."""
        rows = [
            tf.reshape(tf.cast(architectures[key], dtype), [-1, count * choices])
            for key, (count, choices) in self.groups.items()
        ]
        return tf.concat([*rows, tf.ones([tf.shape(rows[0])[0], 1], dtype)], axis=1)

    def get_config(self):
        return {
            **super().get_config(),
            "groups": {key: list(shape) for key, shape in self.groups.items()},
            "penalty": self.penalty,
            "memory": self.memory,
        }


def finite_measurements(values) -> np.ndarray:
    """Measurements as float64, `[N]`.

    Raises:
        UserError: there are none, or some are not finite.
    """
    values = np.asarray(values, np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise UserError(
            f"of {values.size} measurements {int(np.isfinite(values).sum())} are finite; expected "
            "at least one and nothing else: measure again"
        )
    return values
