"""A convolution whose output is averaged over blocks of 2x2 pixels, as one convolution.

Averaging is a convolution too, so the two are one of stride 2 whose kernel is larger by a pixel:
for 3x3 kernels 16 products a pooled pixel instead of 36, and nothing at full resolution is written.
"""

import tensorflow as tf

from tfgen.ops.clusters import on_cpu
from tfgen.ops.convolution import conv2d


def pooled_kernel(kernel: tf.Tensor) -> tf.Tensor:
    """Mean of the four shifts of a kernel: `[k, k, C_in, C_out]` to `[k + 1, k + 1, C_in, C_out]`.

    1x1 kernels stay as they are: there the pixels are averaged first.
    """
    if kernel.shape[0] == 1:
        return kernel
    rows = tf.pad(kernel, [[0, 1], [0, 0], [0, 0], [0, 0]])
    rows += tf.pad(kernel, [[1, 0], [0, 0], [0, 0], [0, 0]])
    both = tf.pad(rows, [[0, 0], [0, 1], [0, 0], [0, 0]])
    both += tf.pad(rows, [[0, 0], [1, 0], [0, 0], [0, 0]])
    return 0.25 * both


def pooled_conv2d(x: tf.Tensor, kernel: tf.Tensor, bias=None) -> tf.Tensor:
    """`avg_pool2d(conv2d(x, kernel of k x k) + bias, 2)`; an odd last row or column is dropped.

    Args:
        x: `[B, H, W, C_in]`.
        kernel: `pooled_kernel` of the `[k, k, C_in, C_out]`, k odd.
        bias: `[C_out]`, or None.

    Returns:
        `[B, H // 2, W // 2, C_out]`.
    """
    if kernel.shape[0] == 1:
        return conv2d(tf.nn.avg_pool2d(x, 2, 2, "VALID"), kernel, bias=bias)
    even = all(size is not None and size % 2 == 0 for size in x.shape[1:3])
    y = (_halve if on_cpu() and even else _strided)(x, kernel)
    return y if bias is None else tf.nn.bias_add(y, bias)


def _paddings(kernel) -> list[list[int]]:
    rows, columns = ((size - 2) // 2 for size in kernel.shape[:2])
    return [[0, 0], [rows, rows], [columns, columns], [0, 0]]


def _strided(x, kernel):
    return tf.nn.conv2d(x, kernel, 2, _paddings(kernel))


@tf.custom_gradient
def _halve(x, kernel):
    """`_strided` with an input gradient that is a convolution of stride 1: each block of 2x2 input
    pixels is one pixel of four times the channels. Twice as fast as the library's op."""

    def gradient(dy):
        paddings = _paddings(kernel)
        rows, columns = paddings[1][0], paddings[2][0]
        blocks = tf.nn.conv2d(dy, _turned_blocks(kernel), 1, paddings)
        dx = tf.nn.depth_to_space(blocks, 2)
        dx = dx[:, rows : rows + x.shape[1], columns : columns + x.shape[2]]
        dkernel = tf.raw_ops.Conv2DBackpropFilter(
            input=x,
            filter_sizes=kernel.shape.as_list(),
            out_backprop=dy,
            strides=[1, 2, 2, 1],
            padding="EXPLICIT",
            explicit_paddings=[pad for pair in paddings for pad in pair],
        )
        return dx, dkernel

    return _strided(x, kernel), gradient


def _turned_blocks(kernel):
    """`[2a, 2b, C_in, C_out]` as the `[a, b, C_out, 4 C_in]` that its transpose convolves with."""
    height, width, channels, filters = kernel.shape
    taps = tf.reshape(kernel, [height // 2, 2, width // 2, 2, channels, filters])
    taps = tf.transpose(tf.reverse(taps, [0, 2]), [0, 2, 5, 1, 3, 4])
    return tf.reshape(taps, [height // 2, width // 2, filters, 4 * channels])
