"""Group normalisation (Wu & He, 2018): statistics of each example over sets of channels.

On the CPU value and gradient are compiled as one cluster each, and the backward pass keeps the
input alone.
"""

import functools

import tensorflow as tf

from tfgen.ops.clusters import cluster, pays
from tfgen.ops.pointwise import activate

EPSILON = 1e-6


def group_norm(x, scale, offset, groups: int, activation: str | None = None) -> tf.Tensor:
    """Normalises every example over the grid and the channels of a group, then activates.

    Sums are float32 whatever the dtype of `x`.

    Args:
        x: `[B, H, W, C]` or `[B, C]`.
        scale: `[C]` float32.
        offset: `[C]` float32.
        groups: integer that divides C: how many sets of neighbouring channels.
        activation: "swish", "elu" or None.

    Returns:
        Tensor like `x`.
    """
    forward = _forward(groups, activation)
    # Of an open batch a cluster would be compiled for every size, and within every loop anew.
    if x.shape.num_elements() is None or not pays(x) or activation not in ("swish", None):
        return forward(x, scale, offset)

    @tf.custom_gradient
    def run(x, scale, offset):
        def gradient(dy):
            return cluster(_gradient(groups, activation), x.shape, x.dtype)(x, scale, offset, dy)

        return cluster(forward, x.shape, x.dtype)(x, scale, offset), gradient

    return run(x, scale, offset)


@functools.cache
def _forward(groups, activation):
    def forward(x, scale, offset):
        mean, inverse = _moments(x, groups)
        factor = inverse * scale
        y = tf.cast(x, tf.float32) * _over_grid(factor, x) + _over_grid(offset - mean * factor, x)
        return activate(tf.cast(y, x.dtype), activation)

    return forward


@functools.cache
def _gradient(groups, activation):
    def gradient(x, scale, offset, dy):
        mean, inverse = _moments(x, groups)
        standardized = (tf.cast(x, tf.float32) - _over_grid(mean, x)) * _over_grid(inverse, x)
        inner = tf.cast(dy, tf.float32)
        if activation == "swish":
            y = standardized * scale + offset
            gate = tf.sigmoid(y)
            inner *= gate * (1.0 + y * (1.0 - gate))
        sums, products = _grid_sums(inner), _grid_sums(inner * standardized)
        count = _group_size(x, groups)
        shift = _over_groups(sums * scale, groups) / count
        slope = _over_groups(products * scale, groups) / count
        dx = inner * scale - _over_grid(shift, x) - standardized * _over_grid(slope, x)
        dx = tf.cast(dx * _over_grid(inverse, x), x.dtype)
        return dx, tf.reduce_sum(products, 0), tf.reduce_sum(sums, 0)

    return gradient


def _moments(x, groups):
    """Mean and inverse deviation of the group of every channel, `[B, C]` each."""
    wide, count = tf.cast(x, tf.float32), _group_size(x, groups)
    mean = _over_groups(_grid_sums(wide), groups) / count
    squares = _grid_sums(tf.square(wide - _over_grid(mean, x)))
    return mean, tf.math.rsqrt(_over_groups(squares, groups) / count + EPSILON)


def _group_size(x, groups):
    """Numbers that are normalised together: a float where the grid is known."""
    size = x.shape[1:].num_elements()
    if size is not None:
        return float(size // groups)
    return tf.cast(tf.reduce_prod(tf.shape(x)[1:]) // groups, tf.float32)


def _grid_sums(x):
    """`[B, C]`."""
    return tf.reduce_sum(x, list(range(1, x.shape.rank - 1))) if x.shape.rank > 2 else x


def _over_groups(values, groups):
    """The sum over its group at every channel, `[B, C]`."""
    channels = values.shape[-1]
    sums = tf.reduce_sum(tf.reshape(values, [-1, groups, channels // groups]), -1)
    return tf.repeat(sums, channels // groups, axis=-1)


def _over_grid(values, x):
    """`[B, C]` as `[B, 1, 1, C]`."""
    return tf.reshape(values, [-1, *[1] * (x.shape.rank - 2), x.shape[-1]])
