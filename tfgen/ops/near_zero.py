"""expm1 and log1p, in exported graphs by operations that every runtime has.

ONNX knows neither, and LiteRT takes exp(x) - 1 and log(1 + x) for them, of which rounding leaves
few digits near zero.
"""

import tensorflow as tf

from tfgen.ops.clusters import is_portable


def expm1(x) -> tf.Tensor:
    """exp(x) - 1, to rounding.

    Args:
        x: floating-point tensor.
    """
    return _expm1(x) if is_portable() else tf.math.expm1(x)


def log1p(x) -> tf.Tensor:
    """log(1 + x), to rounding.

    Args:
        x: floating-point tensor, above -1.
    """
    return _log1p(x) if is_portable() else tf.math.log1p(x)


def _expm1(x):
    half = tf.tanh(0.5 * x)
    small = tf.abs(x) < 1.0
    half = tf.where(small, half, tf.zeros_like(half))
    return tf.where(small, 2.0 * half / (1.0 - half), tf.exp(x) - 1.0)


def _log1p(x):
    """log(u) x / (u - 1) with u = 1 + x rounded: the two errors of u cancel (Kahan)."""
    u = 1.0 + x
    lost = tf.equal(u, 1.0)
    step = tf.where(lost, tf.ones_like(u), u - 1.0)
    return tf.where(lost, x, tf.math.log(u) * (x / step))
