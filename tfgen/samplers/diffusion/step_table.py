"""Every solver of fixed steps is one loop over one table.

Noise predictions are turned into predictions of the data, x0 = (z - sigma eps) / m. A row k of the
table says at which time the network is asked, and how the next state is made of the present one,
of the last predictions and of fresh noise:

    z <- a_k z + sum_j w_kj x0_{k-j} + c_k n

Euler, multistep and Heun's steps, ancestral sampling and discretised SDEs differ in the numbers
only, which are computed once, in float64 and closed form.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.samplers import state as states
from tfgen.samplers.chain import iterate
from tfgen.samplers.diffusion.time_grids import Path

# `(z [N, ...], t [N] or scalar) -> eps` like z
NoisePredictor = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


class StepTable(NamedTuple):
    """The numbers of E evaluations, float64; see the head of this file.

    Attributes:
        time: array `[E]`, when the network is asked.
        mean: array `[E]`, m there.
        std: array `[E]`, sigma there.
        factor: array `[E]`, a.
        weights: array `[E, H]`, w: of the newest prediction first.
        spread: array `[E]`, c.
    """

    time: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    factor: np.ndarray
    weights: np.ndarray
    spread: np.ndarray

    @property
    def draws(self) -> bool:
        """Whether any row takes noise."""
        return bool(np.any(self.spread))


class _Nothing(NamedTuple):
    """The trace of a loop that records none."""


def table(path: Path, factor, weights, spread=None) -> StepTable:
    """A table whose rows start at the times of a path, in order.

    Args:
        path: a `Path` of at least E times.
        factor: array `[E]`.
        weights: array `[E]` or `[E, H]`.
        spread: array `[E]`, or None: no noise.
    """
    factor = np.asarray(factor, np.float64)
    count = len(factor)
    weights = np.reshape(np.asarray(weights, np.float64), (count, -1))
    spread = np.zeros(count) if spread is None else np.asarray(spread, np.float64)
    starts = (column[:count] for column in path)
    return StepTable(*starts, factor, weights, spread)


def joined(first: StepTable, second: StepTable) -> StepTable:
    """One table after the other; predictions are handed on."""
    width = max(first.weights.shape[1], second.weights.shape[1])
    return StepTable(
        *(
            np.concatenate([_widened(a, width), _widened(b, width)])
            for a, b in zip(first, second, strict=True)
        )
    )


def interleaved(*tables: StepTable) -> StepTable:
    """The first rows of all tables, which have equally many, then the second ones, and so on."""
    width = max(table.weights.shape[1] for table in tables)
    columns = zip(*tables)
    return StepTable(
        *(
            np.concatenate(np.stack([_widened(c, width) for c in column], axis=1))
            for column in columns
        )
    )


def _widened(column, width):
    return column if column.ndim == 1 else np.pad(column, [(0, 0), (0, width - column.shape[1])])


def predicted_noise(predict_noise: NoisePredictor, z: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """The prediction in the dtype of `z`.

    Args:
        predict_noise: a function `(z, t) -> eps`.
        z: tensor `[N, ...]`.
        t: tensor of times, `[N]` or scalar.

    Raises:
        UserError: it is not shaped like `z`.
    """
    eps = tf.convert_to_tensor(predict_noise(z, tf.cast(t, z.dtype)))
    if not eps.shape.is_compatible_with(z.shape):
        raise UserError(
            f"the noise predictor gave {tuple(eps.shape)} for a state {tuple(z.shape)}; expected "
            "the state's shape"
        )
    return tf.cast(eps, z.dtype)


def follow(rows: StepTable, predict_noise, z, noise, unroll: bool = False):
    """The last state `[N, ...]` of all rows.

    Args:
        rows: a `StepTable`.
        predict_noise: a function `(z, t) -> eps`.
        z: tensor `[N, ...]`, the state at the first row's time.
        noise: a function `(row, z) -> n` like z, or None where no row takes noise.
        unroll: whether to write the rows out one by one. Their times are then scalar constants, and
            what a predictor makes of them alone is computed once, when the graph is converted.
            Default: `False`.

    Returns:
        Tensor like `z`.
    """
    count, history = rows.weights.shape

    def step(k, carry):
        z, earlier = carry[0], _recalled(carry[1:], unroll)
        number = lambda column: _entry(column, k, z.dtype)  # noqa: E731
        t = states.number(number(rows.time), z.dtype)
        if not unroll:
            t = tf.fill(tf.shape(z)[:1], t)
        mean, std = number(rows.mean), number(rows.std)
        eps = predicted_noise(predict_noise, z, t)
        x0 = [(z - std * eps) / mean, *earlier]
        terms = [(number(rows.factor), z)]
        terms += [(number(rows.weights[:, j]), x0[j]) for j in range(history)]
        if rows.draws and not (unroll and rows.spread[k] == 0.0):
            terms.append((number(rows.spread), noise(k, z)))
        # Rows that are written out leave out what they do not take.
        terms = [term for term in terms if not (unroll and float(term[0]) == 0.0)]
        return (states.combine(*terms), *_kept(x0[: history - 1], unroll)), _Nothing()

    start = (z, *_kept([tf.zeros_like(z)] * (history - 1), unroll))
    return iterate(step, start, count, unroll, trace=_Nothing)[0][0]


def _kept(predictions, unroll):
    """Predictions as what a step hands on: one tensor, since LiteRT's loops mix up places."""
    return tuple(predictions) if unroll or not predictions else (tf.stack(predictions),)


def _recalled(kept, unroll):
    return list(kept) if unroll or not kept else tf.unstack(kept[0])


def _entry(column: np.ndarray, k, dtype):
    """A number of a column; a plain one where the row is known."""
    return float(column[k]) if isinstance(k, int) else tf.constant(column, dtype)[k]
