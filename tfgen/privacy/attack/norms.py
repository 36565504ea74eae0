"""Norms whose derivative at zero is zero instead of NaN."""

import tensorflow as tf


def safe_norm(x: tf.Tensor, axis=None) -> tf.Tensor:
    """Euclidean norm over `axis` (default: all), with gradient 0 where the norm is 0."""
    squared = tf.reduce_sum(tf.square(x), axis=axis)
    positive = squared > 0
    # The inner `where` keeps the derivative of the root finite in the branch that is not taken.
    root = tf.sqrt(tf.where(positive, squared, tf.ones_like(squared)))
    return tf.where(positive, root, tf.zeros_like(root))
