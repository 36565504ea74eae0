"""Batch normalisation and its activation as one op that stores only its input.

Backward, the normalised value is recomputed from the input and the batch statistics instead of
being kept, which saves an activation a layer (NVAE, section 3.1: memory-saving batch norm and
Swish).

On the CPU the pointwise parts are compiled, so that they go over memory once, and the two sums of
the backward pass are products with a vector of ones: together about twice as fast as the fused
kernels, which accelerators keep.
"""

import functools

import tensorflow as tf

from tfgen.ops.clusters import cluster, pays
from tfgen.ops.pointwise import activate

EPSILON = 1e-5


def normalize(x, scale, offset, activation: str | None = None):
    """Normalises by the statistics of this batch and applies the activation.

    Args:
        x: tensor `[B, H, W, C]`.
        scale: `[C]` float32.
        offset: `[C]` float32.
        activation: "swish", "elu" or None.

    Returns:
        The output like `x`; the batch mean `[C]`; the biased batch variance `[C]` (both float32,
        without gradient).
    """
    if pays(x) and activation in ("swish", None):
        return _normalize_compiled(x, scale, offset, activation)
    y, mean, unbiased = tf.raw_ops.FusedBatchNormV3(
        x=x,
        scale=scale,
        offset=offset,
        mean=tf.zeros([0]),
        variance=tf.zeros([0]),
        epsilon=EPSILON,
    )[:3]
    count = _count(x)
    return activate(y, activation), mean, unbiased * ((count - 1.0) / count)


def normalize_synchronized(x, scale, offset, activation: str | None = None, shift=0.0):
    """`normalize` with the statistics of the batches of all replicas together.

    Args:
        x: `[B, H, W, C]`, this replica's part.
        scale: `[C]` float32.
        offset: `[C]` float32.
        activation: "swish", "elu" or None.
        shift: `[C]`, the same on all replicas and near the mean, such as the running mean. The
            variance is that of `x - shift`: a mean far from zero would swallow its digits.

    Returns:
        As `normalize`.
    """
    shift = tf.stop_gradient(tf.convert_to_tensor(shift, tf.float32))
    wide = tf.cast(x, tf.float32) - shift
    moments = tf.stack([tf.reduce_mean(wide, [0, 1, 2]), tf.reduce_mean(wide * wide, [0, 1, 2])])
    context = tf.distribute.get_replica_context()
    moments = context.all_reduce(tf.distribute.ReduceOp.MEAN, moments)
    mean, variance = moments[0], tf.maximum(moments[1] - moments[0] ** 2, 0.0)
    y = tf.nn.batch_normalization(wide, mean, variance, offset, scale, EPSILON)
    return activate(tf.cast(y, x.dtype), activation), mean + shift, variance


def pixel_count(x):
    """Values of each channel in `[B, H, W, C]`: a float where the shape is known, else a tensor."""
    size = x.shape[:3].num_elements()
    return float(size) if size is not None else tf.cast(tf.size(x) // x.shape[-1], tf.float32)


_count = pixel_count


def _normalize_compiled(x, scale, offset, activation):
    parts = (_forward(activation), _slope(activation), _finish)
    forward, slope, finish = (cluster(part, x.shape, x.dtype) for part in parts)

    @tf.custom_gradient
    def run(x, scale, offset):
        y, mean, variance = forward(x, scale, offset)

        def gradient(dy, *_):
            inner, inner_x = slope(x, dy, scale, offset, mean, variance)
            doffset, dscale = _column_sums(inner), _column_sums(inner_x)
            return finish(x, inner, scale, mean, variance, doffset, dscale), dscale, doffset

        return (y, tf.stop_gradient(mean), tf.stop_gradient(variance)), gradient

    return run(x, scale, offset)


def _column_sums(x):
    if x.dtype != tf.float32:  # a product would round its sums to 16 bits, or overflow
        return tf.reduce_sum(tf.cast(x, tf.float32), [0, 1, 2])
    flat = tf.reshape(x, [-1, x.shape[-1]])
    ones = tf.ones([1, flat.shape[0] or tf.shape(flat)[0]], x.dtype)
    return tf.squeeze(tf.matmul(ones, flat), 0)


@functools.cache
def _forward(activation):
    def forward(x, scale, offset):
        wide = tf.cast(x, tf.float32)
        # Sums over space first: they run image by image on all threads.
        mean = tf.reduce_mean(tf.reduce_mean(wide, [1, 2]), 0)
        variance = tf.reduce_mean(tf.reduce_mean(tf.square(wide - mean), [1, 2]), 0)
        factor = scale * tf.math.rsqrt(variance + EPSILON)
        y = wide * factor + (offset - mean * factor)
        return tf.cast(activate(y, activation), x.dtype), mean, variance

    return forward


@functools.cache
def _slope(activation):
    def slope(x, dy, scale, offset, mean, variance):
        """Gradient before the activation, and its product with the standardised input."""
        wide, inner = tf.cast(x, tf.float32), tf.cast(dy, tf.float32)
        standardized = (wide - mean) * tf.math.rsqrt(variance + EPSILON)
        if activation == "swish":
            y = standardized * scale + offset
            gate = tf.sigmoid(y)
            inner *= gate * (1.0 + y * (1.0 - gate))
        return tf.cast(inner, x.dtype), tf.cast(inner * standardized, x.dtype)

    return slope


def _finish(x, inner, scale, mean, variance, doffset, dscale):
    count = _count(x)
    wide, inner = tf.cast(x, tf.float32), tf.cast(inner, tf.float32)
    inverse = tf.math.rsqrt(variance + EPSILON)
    standardized = (wide - mean) * inverse
    dx = scale * inverse * (inner - doffset / count - standardized * dscale / count)
    return tf.cast(dx, x.dtype)


def normalize_rows(x, scale, offset, counts, epsilon: float = EPSILON):
    """ReLU of rows that are normalised by the statistics of those that count.

    Args:
        x: float32 or float64 `[N, C]`.
        scale: `[C]` floats.
        offset: `[C]` floats.
        counts: `[N]` floats, 1 for rows that enter the statistics and 0 for others, which are
            normalised all the same.
        epsilon: float, added to the variance. Defaults to `1e-5`.

    Returns:
        The output like `x`; mean and biased variance of the rows that count, `[C]` and without
        gradient, 0 where none does.
    """
    key = (x.shape, x.dtype, epsilon)
    compiled = x.shape.num_elements() is not None and pays(x) and x.dtype == tf.float32

    def part(function):
        return cluster(function, *key) if compiled else function

    row = tf.expand_dims(counts, 0)
    number = tf.maximum(tf.reduce_sum(counts), 1.0)
    shares = tf.expand_dims(counts / number, 1)

    @tf.custom_gradient
    def run(x, scale, offset):
        mean = tf.squeeze(tf.matmul(row, x), 0) / number
        variance = part(_variance_of_rows)(x, shares, mean)
        inverse = tf.math.rsqrt(variance + epsilon)
        y = part(_normalized_relu)(x, mean, inverse, scale, offset)

        def gradient(dy, *_):
            # The sign of the output is computed again, and what comes before the ReLU twice: it
            # costs less than to write and read it.
            given = (x, dy, mean, inverse, scale, offset)
            doffset, dscale = part(_row_sums)(*given)
            dx = part(_finish_rows)(*given, shares, doffset, dscale)
            return dx, dscale, doffset

        return (y, tf.stop_gradient(mean), tf.stop_gradient(variance)), gradient

    return run(x, scale, offset)


def _variance_of_rows(x, shares, mean):
    return tf.reduce_sum(shares * tf.square(x - mean), axis=0)


def _before_activation(x, mean, inverse, scale, offset):
    return (x - mean) * (inverse * scale) + offset


def _normalized_relu(x, mean, inverse, scale, offset):
    return tf.nn.relu(_before_activation(x, mean, inverse, scale, offset))


def _before_relu(x, dy, mean, inverse, scale, offset):
    """Gradient before the ReLU."""
    kept = _before_activation(x, mean, inverse, scale, offset) > 0.0
    return tf.where(kept, dy, tf.zeros_like(dy))


def _row_sums(x, dy, mean, inverse, scale, offset):
    """Gradients of offset and scale."""
    inner = _before_relu(x, dy, mean, inverse, scale, offset)
    return tf.reduce_sum(inner, axis=0), tf.reduce_sum(inner * (x - mean), axis=0) * inverse


def _finish_rows(x, dy, mean, inverse, scale, offset, shares, doffset, dscale):
    inner = _before_relu(x, dy, mean, inverse, scale, offset)
    standardized = (x - mean) * inverse
    return scale * inverse * (inner - shares * (doffset + standardized * dscale))
