"""Spectral regularisation: largest singular values of many kernels by batched power iteration.

The kernel of a convolution is flattened to `[n, rows, columns]` with the output filters as
columns. The norm is that of this matrix, not of the convolution as an operator (NVAE, section 3.2).
"""

import tensorflow as tf

EPSILON = 1e-3


def power_iteration(matrices, left, right, num_iterations: int = 4):
    """Improves the singular vectors of the largest singular value of each matrix.

    Args:
        matrices: float32 tensor `[n, rows, columns]`.
        left: tensor `[n, rows]`, the left singular vectors to start from.
        right: tensor `[n, columns]`, the right ones.
        num_iterations: integer, how often both vectors are renewed.

    Returns:
        `left`, `right` of norm one, without gradient.
    """
    matrices = tf.stop_gradient(matrices)
    # One kernel at a time stays in the cache over the iterations; the whole stack would not.
    if matrices.shape[1] * matrices.shape[2] >= 2**16:
        pairs = [
            _iterate(m, u, v, num_iterations)
            for m, u, v in zip(*map(tf.unstack, (matrices, left, right)))
        ]
        return tuple(tf.stack(vectors) for vectors in zip(*pairs))
    return _iterate(matrices, left, right, num_iterations)


def largest_singular_value(matrices, left, right):
    """`left^T W right` per matrix, `[n]`; the gradient goes to the matrices only."""
    left, right = tf.stop_gradient(left), tf.stop_gradient(right)
    product = tf.linalg.matvec(matrices, left, transpose_a=True)
    return tf.reduce_sum(product * right, axis=-1)


def _iterate(matrix, left, right, num_iterations):
    left, right = tf.expand_dims(left, -1), tf.expand_dims(right, -1)
    for _ in range(num_iterations):
        left = tf.matmul(matrix, right)  # its length cancels when `right` is normalised
        right = _unit(tf.matmul(matrix, left, transpose_a=True))
    return tf.squeeze(_unit(left), -1), tf.squeeze(right, -1)


def _unit(columns):
    square = tf.reduce_sum(columns * columns, axis=-2, keepdims=True)
    return columns * tf.math.rsqrt(tf.maximum(square, EPSILON**2))
