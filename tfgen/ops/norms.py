"""Norms of tensors that neither overflow nor underflow, of many tensors at once.

Sums of squares are formed in float64, where the square of every finite float32 has its place: a
gradient of 1e-30 or 1e30 has a norm like any other.
"""

from collections.abc import Sequence

import tensorflow as tf

# Elements from which converting to float64 costs more than the sum itself.
_LARGE = 2**14
# Sums of float32 squares that are exact to rounding: no square in them over- or underflowed.
_SMALLEST_SUM, _LARGEST_SUM = 1e-24, 1e36


def norm(x: tf.Tensor, kept_axes: Sequence[int] = ()) -> tf.Tensor:
    """Euclidean norm over all axes but `kept_axes`.

    Args:
        x: floating-point tensor of any shape.
        kept_axes: sequence of non-negative integers, the axes along which every entry has a norm of
            its own.

    Returns:
        float64 of the rank of `x`, size 1 along the axes that were summed over.
    """
    return tf.sqrt(inner_product(x, x, kept_axes))


def inner_product(x: tf.Tensor, y: tf.Tensor, kept_axes: Sequence[int] = ()) -> tf.Tensor:
    """Sum of `x * y` over all axes but `kept_axes`; see `norm`."""
    axes = [axis for axis in range(x.shape.rank) if axis not in kept_axes]
    product = tf.cast(x, tf.float64) * tf.cast(y, tf.float64)
    return tf.reduce_sum(product, axes, keepdims=True)


def norms(tensors: Sequence[tf.Tensor]) -> tf.Tensor:
    """The norm of each tensor.

    Args:
        tensors: sequence of float32 or float64 tensors (half precision is best converted before),
            any shapes.

    Returns:
        float64 `[len(tensors)]`.
    """
    return tf.sqrt(2.0 * _sums(tf.nn.l2_loss, [(x,) for x in tensors]))


def inner_products(xs: Sequence[tf.Tensor], ys: Sequence[tf.Tensor]) -> tf.Tensor:
    """Sum of `x * y` over all elements of each pair.

    Args:
        xs: sequence of float32 or float64 tensors.
        ys: sequence of tensors like `xs`.

    Returns:
        float64 `[len(xs)]`.
    """
    return _sums(_dot, list(zip(xs, ys, strict=True)))


def _sums(summed, operands):
    """`summed(*tensors)` for each operand, in float64.

    Where tensors have many elements it is formed in float32 first, in one pass over the memory.
    Should any of these sums come near the ends of float32, all are formed again in float64.
    """
    if not operands:
        return tf.zeros([0], tf.float64)

    def wide(tensors):
        return summed(*[tf.cast(x, tf.float64) for x in tensors])

    order = sorted(range(len(operands)), key=lambda i: _is_large(operands[i][0]))
    small = [operands[i] for i in order if not _is_large(operands[i][0])]
    large = [operands[i] for i in order[len(small) :]]
    results = [wide(tensors) for tensors in small]
    if large:
        fast = tf.stack([summed(*tensors) for tensors in large])
        in_range = (tf.abs(fast) > _SMALLEST_SUM) & (tf.abs(fast) < _LARGEST_SUM)
        # A zero sum looks like one that underflowed; telling them apart takes the second pass.
        sums = tf.cond(
            tf.reduce_all(in_range),
            lambda: tf.cast(fast, tf.float64),
            lambda: tf.stack([wide(tensors) for tensors in large]),
        )
        results += tf.unstack(sums, len(large))
    return tf.stack([result for _, result in sorted(zip(order, results), key=lambda pair: pair[0])])


def _is_large(x):
    return x.dtype != tf.float64 and x.shape.num_elements() >= _LARGE


def _dot(x, y):
    # A product of a row and a column reads both once and writes nothing.
    return tf.matmul(tf.reshape(x, [1, -1]), tf.reshape(y, [-1, 1]))[0, 0]
