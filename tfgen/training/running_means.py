"""Averages of everything a step reports, in one variable."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf


class RunningMeans:
    """Weighted means of named scalars and vectors since the last `reset`.

    `keras.metrics.Mean` keeps two variables and some ten operations for every name; a deep model
    that reports a number per latent group would spend visible time there. Here all values of a
    step are laid end to end and added to one variable, whose first element counts the weight.
    Names, order and sizes are fixed when a step is first traced.

    Args:
        capacity: integer, how many numbers the names may hold together. Defaults to `4096`.
    """

    def __init__(self, capacity: int = 4096):
        self._capacity = capacity
        self._layout: dict[str, int | None] = {}  # name -> length, None for a scalar
        # All replicas add the same numbers (see `Model.train_step`), so one copy speaks for all.
        self._sums = tf.Variable(
            tf.zeros([1 + capacity]),
            trainable=False,
            aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            name="running_sums",
        )

    def pack(self, values: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Lays scalars and vectors end to end: a dict of `[]` or `[N]` becomes float32 `[M]`.

        Raises:
            ValueError: a value is not a scalar or a vector of known length, the names are not
                those of earlier calls, or there are too many numbers.
        """
        values = {name: tf.cast(value, tf.float32) for name, value in values.items()}
        layout = {name: _length(name, value) for name, value in values.items()}
        if self._layout and self._layout != layout:
            raise ValueError(
                f"A step must always report the same names and lengths; it reported {layout} "
                f"and before that {self._layout}."
            )
        self._layout = layout
        packed = tf.concat([tf.reshape(value, [-1]) for value in values.values()], axis=0)
        if packed.shape[0] > self._capacity:
            raise ValueError(
                f"A step may report at most {self._capacity} numbers; got {packed.shape[0]}."
            )
        return packed

    def update(self, weighted_values: tf.Tensor, weight: tf.Tensor) -> None:
        """Adds packed values, already multiplied by their weight."""
        sums = tf.concat([tf.reshape(weight, [1]), weighted_values], axis=0)
        room = 1 + self._capacity - sums.shape[0]
        self._sums.assign_add(tf.pad(sums, [[0, room]]))

    def scalars(self) -> dict[str, tf.Tensor]:
        """The mean of each scalar; NaN while nothing has been counted."""
        means = self._means()
        return {name: mean for name, mean in means.items() if self._layout[name] is None}

    def vectors(self) -> dict[str, np.ndarray]:
        """The mean of each vector, `[N]`; NaN while nothing has been counted."""
        means = self._means()
        return {
            name: mean.numpy() for name, mean in means.items() if self._layout[name] is not None
        }

    def reset(self) -> None:
        """Forgets all values; the names stay."""
        self._sums.assign(tf.zeros_like(self._sums))

    def _means(self) -> dict[str, tf.Tensor]:
        if not self._layout:
            return {}
        lengths = [1 if length is None else length for length in self._layout.values()]
        sums = tf.convert_to_tensor(self._sums)
        means = sums[1 : 1 + sum(lengths)] / sums[0]
        pieces = tf.split(means, lengths)
        return {
            name: tf.reshape(piece, []) if length is None else piece
            for (name, length), piece in zip(self._layout.items(), pieces)
        }


def _length(name: str, value: tf.Tensor) -> int | None:
    if value.shape.rank == 0:
        return None
    if value.shape.rank == 1 and value.shape[0] is not None:
        return value.shape[0]
    raise ValueError(
        f"A reported value must be a scalar or a vector of known length; {name!r} has shape "
        f"{value.shape}. Reduce it over the batch first."
    )
