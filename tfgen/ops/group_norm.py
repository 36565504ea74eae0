"""Group normalisation (Wu & He, 2018): statistics of each example over sets of channels.

On the CPU value and gradient are clusters, and the backward pass keeps the input and the moments.
Sums of the gradient lie between two clusters: XLA would compute them element by element, in six
times as long as the rest takes.
"""

import functools

import tensorflow as tf

from tfgen.ops.clusters import cluster, pays
from tfgen.ops.pointwise import activate

EPSILON = 1e-6


def group_norm(
    x, scale, offset, groups: int, activation: str | None = None, shift=None
) -> tf.Tensor:
    """Normalises every example over the grid and the channels of a group, then activates.

    Sums are float32 whatever the dtype of `x`.

    Args:
        x: `[B, H, W, C]` or `[B, C]`.
        scale: `[C]` float32.
        offset: `[C]` float32.
        groups: integer that divides C: how many sets of neighbouring channels.
        activation: "swish", "elu" or None.
        shift: `[B, C]`, added to all pixels before; None adds nothing.

    Returns:
        Tensor like `x`.
    """
    forward = _forward(groups, activation)
    # Of an open batch a cluster would be compiled for every size, and within every loop anew.
    if x.shape.num_elements() is None or not pays(x) or activation not in ("swish", None):
        return forward(_shifted(x, shift), scale, offset)[0]
    if shift is None:
        return _in_clusters(groups, activation)(x, scale, offset)
    return _in_clusters(groups, activation)(x, scale, offset, shift)


@functools.cache
def _in_clusters(groups, activation):
    forward, weigh, finish = (f(groups, activation) for f in (_forward, _weigh, _finish))

    @functools.cache
    def shifted_forward(given):
        return (lambda x, a, b, s: forward(_shifted(x, s), a, b)) if given else forward

    @tf.custom_gradient
    def run(x, scale, offset, *shift):
        def clustered(function):
            return cluster(function, x.shape, x.dtype, len(shift))

        y, mean, inverse = clustered(shifted_forward(len(shift)))(x, scale, offset, *shift)

        def gradient(dy):
            moved = mean - tf.cast(shift[0], tf.float32) if shift else mean
            weighed = clustered(weigh)(x, scale, offset, moved, inverse, dy)
            sums = [_grid_sums(tensor) for tensor in weighed]
            dx = clustered(finish)(x, scale, moved, inverse, weighed[0], *sums)
            others = [tf.reduce_sum(sums[1], 0), tf.reduce_sum(sums[0], 0)]
            if shift:
                others.append(tf.cast(_grid_sums(tf.cast(dx, tf.float32)), shift[0].dtype))
            return dx, *others

        return y, gradient

    return run


@functools.cache
def _forward(groups, activation):
    """The value, and the moments that it was made with."""

    def forward(x, scale, offset):
        mean, inverse = _moments(x, groups)
        factor = inverse * scale
        y = tf.cast(x, tf.float32) * _over_grid(factor, x) + _over_grid(offset - mean * factor, x)
        return activate(tf.cast(y, x.dtype), activation), mean, inverse

    return forward


@functools.cache
def _weigh(groups, activation):
    """The gradient of the normalised values before their scale and offset, and times them."""
    del groups

    def weigh(x, scale, offset, mean, inverse, dy):
        standardized = _standardized(x, mean, inverse)
        inner = tf.cast(dy, tf.float32)
        if activation == "swish":
            y = standardized * scale + offset
            gate = tf.sigmoid(y)
            inner *= gate * (1.0 + y * (1.0 - gate))
        return inner, inner * standardized

    return weigh


@functools.cache
def _finish(groups, activation):
    """The gradient of x from that and its sums over the grid."""
    del activation

    def finish(x, scale, mean, inverse, inner, sums, products):
        count = _group_size(x, groups)
        change = _over_groups(sums * scale, groups) / count
        slope = _over_groups(products * scale, groups) / count
        dx = inner * scale - _over_grid(change, x)
        dx -= _standardized(x, mean, inverse) * _over_grid(slope, x)
        return tf.cast(dx * _over_grid(inverse, x), x.dtype)

    return finish


def _standardized(x, mean, inverse):
    return (tf.cast(x, tf.float32) - _over_grid(mean, x)) * _over_grid(inverse, x)


def _shifted(x, shift):
    return x if shift is None else x + _over_grid(tf.cast(shift, x.dtype), x)


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
