"""Weight normalisation of a stack of kernels, and their spectral norms, in one pass each way.

    E = exp(g) W / (|W| + 1e-5)           per output filter (Salimans & Kingma, 2016)
    sigma = u^T E v                       per kernel (NVAE, section 3.2)

`g` is the logarithm of the gain. The backward pass adds the rank-one gradient of sigma to that of
E and goes through the normalisation in the same sweep over memory.
"""

import functools

import tensorflow as tf

from tfgen.ops.convolution import on_cpu

EPSILON = 1e-5
_FUSED_FROM = 2**19  # elements: below, compiling costs more than a saved sweep over memory


def weight_norm(kernels: tf.Tensor, log_gain: tf.Tensor) -> tf.Tensor:
    """Effective kernels.

    Args:
        kernels: `[n, fan_in, C_out]`.
        log_gain: `[n, C_out]`.

    Returns:
        `[n, fan_in, C_out]`.
    """
    fused = on_cpu() and kernels.shape.num_elements() >= _FUSED_FROM
    return (_normalized_fused if fused else _normalized)(kernels, log_gain)


def initial_log_gain(kernels) -> tf.Tensor:
    """`log(|W| + 0.01)`, which leaves the kernel about as it was drawn."""
    return tf.math.log(_norm(kernels)[:, 0] + 1e-2)


def _norm(kernels):
    return tf.sqrt(tf.reduce_sum(tf.square(kernels), axis=1, keepdims=True))


def _forward(kernels, log_gain):
    return kernels * (tf.exp(tf.expand_dims(log_gain, 1)) / (_norm(kernels) + EPSILON))


def _backward(kernels, log_gain, dy):
    norm = tf.maximum(_norm(kernels), 1e-30)
    factor = tf.exp(tf.expand_dims(log_gain, 1)) / (norm + EPSILON)
    projection = tf.reduce_sum(dy * kernels, axis=1, keepdims=True)
    dkernels = factor * dy - factor * projection / ((norm + EPSILON) * norm) * kernels
    return dkernels, (factor * projection)[:, 0]


@tf.custom_gradient
def _normalized(kernels, log_gain):
    return _forward(kernels, log_gain), lambda dy: _backward(kernels, log_gain, dy)


@tf.custom_gradient
def _normalized_fused(kernels, log_gain):
    forward, backward = _compiled(kernels.shape)
    return forward(kernels, log_gain), lambda dy: backward(kernels, log_gain, dy)


@functools.cache
def _compiled(shape):
    """Both directions, compiled once for each shape."""
    del shape  # one function for each keeps TensorFlow from counting them as retracings
    return [tf.function(f, jit_compile=True, autograph=False) for f in (_forward, _backward)]
