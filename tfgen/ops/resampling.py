"""Changing the size of a grid by two, with and without a low-pass filter.

The filter is that of StyleGAN 2 (Karras et al., 2020), as score networks use it (Song et al., 2021,
arXiv:2011.13456): the separable (1, 3, 3, 1), whose sum is one going down and four going up.
"""

import numpy as np
import tensorflow as tf

_TAPS = np.outer([1.0, 3.0, 3.0, 1.0], [1.0, 3.0, 3.0, 1.0]) / 64.0


def downsample(x, filtered: bool = False) -> tf.Tensor:
    """Halves height and width, which must be even.

    Args:
        x: `[B, H, W, C]`.
        filtered: whether by the filter; otherwise means over blocks of 2 x 2. Defaults to `False`.

    Returns:
        `[B, H / 2, W / 2, C]`: pixel i of the filter covers pixels 2i - 1 to 2i + 2.
    """
    if not filtered:
        return tf.nn.avg_pool2d(x, 2, 2, "VALID")
    padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    return tf.nn.depthwise_conv2d(padded, _kernel(x, 1.0), [1, 2, 2, 1], "VALID")


def upsample(x, filtered: bool = False) -> tf.Tensor:
    """Doubles height and width.

    Args:
        x: `[B, H, W, C]`.
        filtered: whether by the filter, between zeros; otherwise every pixel becomes 2 x 2.
            Defaults to `False`.

    Returns:
        `[B, 2 H, 2 W, C]`.
    """
    if not filtered:
        return _repeated(x)
    padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
    return tf.nn.depthwise_conv2d(_between_zeros(padded), _kernel(x, 4.0), [1, 1, 1, 1], "VALID")


def _between_zeros(padded):
    """A zero after every pixel, in both directions, but for the last ones."""
    return _interleaved(padded, tf.zeros_like)[:, :-1, :-1]


def _repeated(x):
    return _interleaved(x, tf.identity)


def _interleaved(x, neighbour):
    height, width, channels = x.shape[1:]
    rows = tf.reshape(tf.stack([x, neighbour(x)], 3), [-1, height, 2 * width, channels])
    return tf.reshape(tf.stack([rows, neighbour(rows)], 2), [-1, 2 * height, 2 * width, channels])


def _kernel(x, gain):
    taps = np.tile((gain * _TAPS)[:, :, None, None], [1, 1, x.shape[-1], 1])
    return tf.constant(taps, x.dtype)
