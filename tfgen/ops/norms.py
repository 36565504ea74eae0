"""Norms of tensors that neither overflow nor underflow, of many tensors at once.

Sums of squares are formed in float64, where the square of every finite float32 has its place: a
gradient of 1e-30 or 1e30 has a norm like any other.
"""

from collections.abc import Sequence

import numpy as np
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
    return tf.sqrt(inner_products(tensors, tensors))


def inner_products(xs: Sequence[tf.Tensor], ys: Sequence[tf.Tensor]) -> tf.Tensor:
    """Sum of `x * y` over all elements of each pair.

    Args:
        xs: sequence of float32 or float64 tensors.
        ys: sequence of tensors like `xs`.

    Returns:
        float64 `[len(xs)]`.
    """
    pairs = list(zip(xs, ys, strict=True))
    large = [i for i, (x, _) in enumerate(pairs) if _is_large(x)]
    alike: dict[tuple, list[int]] = {}
    for i in sorted(set(range(len(pairs))) - set(large)):
        alike.setdefault((tuple(pairs[i][0].shape), pairs[i][0].dtype), []).append(i)
    sums = [_sums_of_rows([pairs[i] for i in group]) for group in alike.values()]
    if large:
        sums.append(_sums_of_large([pairs[i] for i in large]))
    if not sums:
        return tf.zeros([0], tf.float64)
    order = np.concatenate([*alike.values(), large]).astype(np.int32)
    return tf.gather(tf.concat(sums, 0), np.argsort(order))


def _sums_of_rows(pairs):
    """Of tensors of one shape: a few operations for all, where each had its own."""

    def rows(tensors):
        shape = [len(tensors), tensors[0].shape.num_elements()]
        return tf.cast(tf.reshape(tf.stack(tensors), shape), tf.float64)

    xs, ys = zip(*pairs)
    left = rows(xs)
    right = left if all(x is y for x, y in pairs) else rows(ys)
    return tf.reduce_sum(left * right, -1)


def _sums_of_large(pairs):
    """In float32 first, in one pass over the memory.

    Should any of these sums come near the ends of float32, all are formed again in float64.
    """
    fast = tf.stack([_dot(x, y) for x, y in pairs])
    in_range = (tf.abs(fast) > _SMALLEST_SUM) & (tf.abs(fast) < _LARGEST_SUM)
    # A zero sum looks like one that underflowed; telling them apart takes the second pass.
    return tf.cond(
        tf.reduce_all(in_range),
        lambda: tf.cast(fast, tf.float64),
        lambda: tf.stack([_dot(*[tf.cast(x, tf.float64) for x in pair]) for pair in pairs]),
    )


def _is_large(x):
    return x.dtype != tf.float64 and x.shape.num_elements() >= _LARGE


def _dot(x, y):
    if x is y:
        return 2.0 * tf.nn.l2_loss(x)
    # A product of a row and a column reads both once and writes nothing.
    return tf.matmul(tf.reshape(x, [1, -1]), tf.reshape(y, [-1, 1]))[0, 0]
