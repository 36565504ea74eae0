"""Batch normalisation and its activation as one op that stores only its input.

Forward, the fused kernel normalises and Swish follows. Backward, the normalised value is recomputed
from the input and the batch statistics instead of being kept, which saves one activation a layer
(NVAE, section 3.2: the memory-saving batch norm and Swish).
"""

import tensorflow as tf

from tfgen.ops.convolution import on_cpu

EPSILON = 1e-5


def activate(x: tf.Tensor, activation: str | None) -> tf.Tensor:
    """Applies "swish", "elu" or nothing."""
    if activation is None:
        return x
    return {"swish": tf.nn.silu, "elu": tf.nn.elu}[activation](x)


def normalize(x, scale, offset, activation: str | None = None):
    """Normalises by the statistics of this batch and applies the activation.

    Args:
        x: `[B, H, W, C]`.
        scale: `[C]` float32.
        offset: `[C]` float32.
        activation: "swish", "elu" or None.

    Returns:
        The output like `x`; the batch mean `[C]`; the biased batch variance `[C]` (both float32).
    """
    if activation == "swish":
        return _normalize_swish(x, scale, offset)
    y, mean, variance = _fused(x, scale, offset)[:3]
    return activate(y, activation), mean, variance


def normalize_synchronized(x, scale, offset, activation: str | None = None):
    """`normalize` with the statistics of the batches of all replicas together."""
    wide = tf.cast(x, tf.float32)
    moments = tf.stack([tf.reduce_mean(wide, [0, 1, 2]), tf.reduce_mean(wide * wide, [0, 1, 2])])
    context = tf.distribute.get_replica_context()
    moments = context.all_reduce(tf.distribute.ReduceOp.MEAN, moments)
    mean, variance = moments[0], moments[1] - moments[0] ** 2
    y = tf.nn.batch_normalization(wide, mean, variance, offset, scale, EPSILON)
    return activate(tf.cast(y, x.dtype), activation), mean, variance


def _fused(x, scale, offset):
    empty = tf.zeros([0])
    return tf.raw_ops.FusedBatchNormV3(
        x=x, scale=scale, offset=offset, mean=empty, variance=empty, epsilon=EPSILON
    )


@tf.custom_gradient
def _normalize_swish(x, scale, offset):
    y, mean, unbiased, saved_mean, saved_variance, saved = _fused(x, scale, offset)
    count = tf.cast(tf.size(x) // x.shape[-1], tf.float32)
    variance = unbiased * (count - 1.0) / tf.maximum(count, 1.0)

    def gradient(dy, dmean=None, dvariance=None):
        del dmean, dvariance  # the running statistics take no gradient
        slope = _swish_slope_fused if on_cpu() else _swish_slope
        inner = slope(x, dy, scale, offset, mean, variance)
        dx, dscale, doffset, _, _ = tf.raw_ops.FusedBatchNormGradV3(
            y_backprop=inner,
            x=x,
            scale=scale,
            reserve_space_1=saved_mean,
            reserve_space_2=saved_variance,
            reserve_space_3=saved,
            epsilon=EPSILON,
        )
        return dx, dscale, doffset

    return (tf.nn.silu(y), mean, variance), gradient


def _swish_slope(x, dy, scale, offset, mean, variance):
    """`dy * swish'(batch_norm(x))`, the normalised value recomputed."""
    factor = scale * tf.math.rsqrt(variance + EPSILON)
    shift = offset - mean * factor
    y = x * tf.cast(factor, x.dtype) + tf.cast(shift, x.dtype)
    gate = tf.sigmoid(y)
    return dy * (gate * (1 + y * (1 - gate)))


# Pointwise work only: here XLA halves the time on the CPU (one pass over memory instead of six).
_swish_slope_fused = tf.function(_swish_slope, jit_compile=True)
