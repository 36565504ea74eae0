"""A stand-in for what is measured: linear in the choices, fitted to measurements.

Latencies of blocks nearly add up, so that a sum over the choices predicts a network's well. As a
control variate it need not be right: the estimate stays unbiased (UNAS, arXiv:1912.07651).
"""

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from tfgen.errors import UserError


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

    values = np.asarray(values, np.float64)
    if values.size == 0 or not np.isfinite(values).all():
        raise UserError(
            f"of {values.size} measurements {int(np.isfinite(values).sum())} are finite; expected "
            "at least one and nothing else: measure again"
        )
    parts = {name: np.asarray(value, np.float64) for name, value in architectures.items()}
    count = len(values)
    columns = [part.reshape(count, -1) for part in parts.values()]
    design = np.concatenate([*columns, np.ones((count, 1))], axis=1)
    found = Ridge(alpha=penalty, fit_intercept=False).fit(design, values).coef_
    ends = np.cumsum([column.shape[1] for column in columns])
    rows = np.split(found[:-1], ends[:-1])
    weights = {name: row.reshape(parts[name].shape[1:]) for (name, row) in zip(parts, rows)}
    return LinearSurrogate(weights, float(found[-1]))
