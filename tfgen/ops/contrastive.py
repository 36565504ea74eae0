"""Noise-contrastive estimation of a density ratio, in the logit domain (Gutmann & Hyvarinen, 2010).

A network puts out log r, the estimate of log q - log p. With nu samples of p for each of q, the
classifier's logit is log r - log nu; no probability is ever formed and divided. `positive` `[...]`
is log r at a sample of q and `negative` `[..., n]` at n samples of p. Everything is in nats.
"""

import math

import tensorflow as tf


def binary_cross_entropy(positive: tf.Tensor, negative: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy over one positive and its nu negatives, `[...]`.

    Its minimum over log r is at log q - log p whatever nu is; for nu = 1 the value there is
    log 2 - JSD(q, p).
    """
    number = negative.shape[-1]
    log_nu = math.log(number)
    loss = tf.nn.softplus(log_nu - positive)
    return (loss + tf.reduce_sum(tf.nn.softplus(negative - log_nu), axis=-1)) / (1.0 + number)


def balanced_cross_entropy(positive: tf.Tensor, negative: tf.Tensor) -> tf.Tensor:
    """The cross-entropy with equal weight on both classes, however many negatives, `[...]`."""
    return 0.5 * (tf.nn.softplus(-positive) + tf.reduce_mean(tf.nn.softplus(negative), axis=-1))


def accuracy(positive: tf.Tensor, negative: tf.Tensor) -> tf.Tensor:
    """Share of the two classes, weighted equally, on the right side of log r = 0, `[...]`.

    What lies on neither side counts half, as a guess would.
    """
    above = tf.reduce_mean(tf.sign(tf.cast(negative, tf.float32)), axis=-1)
    return 0.5 + 0.25 * (tf.sign(tf.cast(positive, tf.float32)) - above)


def resampling_gain(positive: tf.Tensor, negative: tf.Tensor) -> tf.Tensor:
    """log r(z) - log mean of r over z and n prior samples, `[...]`.

    In expectation a lower bound of log p_SIR(z) - log p(z) for resampling from n + 1 proposals.
    """
    together = tf.concat([tf.expand_dims(positive, -1), negative], axis=-1)
    mixed = tf.reduce_logsumexp(together, axis=-1) - math.log(negative.shape[-1] + 1.0)
    return positive - mixed


def jensen_shannon(balanced_cross_entropy: tf.Tensor) -> tf.Tensor:
    """Estimate of JSD(q, p) from below, given the cross-entropy of a classifier."""
    return math.log(2.0) - balanced_cross_entropy
