"""expm1, log1p and softplus, in exported graphs by operations that every runtime has.

ONNX knows neither of the first two, and LiteRT takes exp(x) - 1 and log(1 + x) for them, of which
rounding leaves few digits near zero. Softplus of negative numbers is log1p of small ones.
"""

import tensorflow as tf

from tfgen.ops.clusters import is_portable

_TERMS = 10  # of a series in squares below 0.021: float64 to rounding


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


def softplus(x) -> tf.Tensor:
    """log(1 + exp(x)), to rounding.

    Args:
        x: floating-point tensor.
    """
    if not is_portable():
        return tf.math.softplus(x)
    return tf.maximum(x, tf.zeros_like(x)) + _log1p(tf.exp(-tf.abs(x)))


def _expm1(x):
    half = tf.tanh(0.5 * x)
    small = tf.abs(x) < 1.0
    half = tf.where(small, half, tf.zeros_like(half))
    return tf.where(small, 2.0 * half / (1.0 - half), tf.exp(x) - 1.0)


def _log1p(x):
    """2 atanh(x / (2 + x)) near zero, by its series: converters would undo (1 + x) - 1."""
    ratio = x / (2.0 + x)
    square = ratio * ratio
    series = tf.zeros_like(x)
    for k in range(_TERMS, -1, -1):
        series = series * square + 1.0 / (2 * k + 1)
    return tf.where(tf.abs(x) < 0.25, 2.0 * ratio * series, tf.math.log(1.0 + x))
