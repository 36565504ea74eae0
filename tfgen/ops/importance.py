"""Importance-weighted bounds from log-weights that arrive in chunks (Burda et al., 2016).

With log-weights log w_k = log p(x, z_k) - log q(z_k | x) and K posterior samples per image,

    L_K = log 1/K sum_k w_k            ESS = (sum_k w_k)^2 / sum_k w_k^2

A thousand samples of a deep model never fit into memory at once, so the sums are carried as a state
relative to the largest weight seen. The state is a tuple of tensors and can be a loop variable.
"""

from typing import NamedTuple

import tensorflow as tf


class ImportanceState(NamedTuple):
    """Sums over the samples seen so far; every tensor is `[B]`, one entry per image."""

    maximum: tf.Tensor  # largest log-weight; -inf before the first
    weight_sum: tf.Tensor  # sum of exp(log_w - maximum)
    square_sum: tf.Tensor  # sum of exp(2 (log_w - maximum))
    log_weight_sum: tf.Tensor  # sum of log_w itself
    count: tf.Tensor  # number of samples


def init(batch_size: int | tf.Tensor, dtype: tf.DType = tf.float64) -> ImportanceState:
    """The state before any sample. float64, because K sums of 1e4 nats need the digits."""
    zeros = tf.zeros([batch_size], dtype)
    return ImportanceState(zeros - float("inf"), zeros, zeros, zeros, zeros)


def update(state: ImportanceState, log_weights: tf.Tensor) -> ImportanceState:
    """Adds a chunk of samples, `log_weights [k, B]`."""
    log_weights = tf.cast(log_weights, state.maximum.dtype)
    maximum = tf.maximum(state.maximum, tf.reduce_max(log_weights, axis=0))
    # When every weight so far is zero the maximum is -inf; subtracting it would give NaN.
    shift = tf.where(tf.math.is_finite(maximum), maximum, tf.zeros_like(maximum))
    fresh = tf.math.exp(log_weights - shift)
    decay = tf.math.exp(state.maximum - shift)
    return ImportanceState(
        maximum,
        decay * state.weight_sum + tf.reduce_sum(fresh, axis=0),
        tf.math.square(decay) * state.square_sum + tf.reduce_sum(tf.math.square(fresh), axis=0),
        state.log_weight_sum + tf.reduce_sum(log_weights, axis=0),
        state.count + tf.cast(tf.shape(log_weights)[0], state.count.dtype),
    )


def bound(state: ImportanceState) -> tf.Tensor:
    """L_K in nats, `[B]`: a lower bound of log p(x) in expectation, tighter with every sample."""
    shift = tf.where(tf.math.is_finite(state.maximum), state.maximum, 0.0)
    return shift + tf.math.log(state.weight_sum) - tf.math.log(state.count)


def elbo(state: ImportanceState) -> tf.Tensor:
    """Mean log-weight in nats, `[B]`: L_1 estimated from all K samples."""
    return state.log_weight_sum / state.count


def sample_size(state: ImportanceState) -> tf.Tensor:
    """Effective sample size, `[B]`, between 1 and K."""
    return tf.math.square(state.weight_sum) / state.square_sum


def iw_bound(log_weights: tf.Tensor) -> tf.Tensor:
    """L_K of all samples at once: `[K, B]` to `[B]`, in nats, in the dtype of its argument."""
    num_samples = tf.cast(tf.shape(log_weights)[0], log_weights.dtype)
    return tf.reduce_logsumexp(log_weights, axis=0) - tf.math.log(num_samples)


def effective_sample_size(log_weights: tf.Tensor) -> tf.Tensor:
    """(sum w)^2 / sum w^2 of `[K, B]` log-weights, `[B]`."""
    return tf.math.exp(
        2.0 * tf.reduce_logsumexp(log_weights, axis=0)
        - tf.reduce_logsumexp(2.0 * log_weights, axis=0)
    )
