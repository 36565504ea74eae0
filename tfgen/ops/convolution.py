"""Convolutions with PyTorch's symmetric padding and, on the CPU, faster gradients.

On the CPU the gradient of a stride-1 convolution with respect to its input is itself a stride-1
convolution with the kernel turned round, and running it as one is two to three times faster than
the built-in backward op. A 1x1 convolution is a matrix product in both directions. The gradient of
a depthwise kernel, by far the slowest of the built-in ops, is a depthwise convolution of the input
with the output's gradient, or on tiny grids a product over all pairs of pixels. Accelerators keep
the library's own gradients.
"""

import numpy as np
import tensorflow as tf

from tfgen.ops.clusters import on_cpu

_ONES = [1, 1, 1, 1]
_FEW_TAPS = 3  # of a depthwise kernel, along one axis


def conv2d(x: tf.Tensor, kernel: tf.Tensor, stride: int = 1, bias=None) -> tf.Tensor:
    """Convolution padded by `(size - 1) / 2` on every side, at stride 2 as well.

    At stride 2 output row i covers input rows 2i-1 to 2i+1, as in PyTorch; TensorFlow's "SAME"
    would cover 2i to 2i+2.

    Args:
        x: `[B, H, W, C_in]`.
        kernel: `[k, k, C_in, C_out]`, k odd.
        stride: integer, 1 or 2.
        bias: `[C_out]`, or None.

    Returns:
        `[B, H / stride, W / stride, C_out]`.
    """
    height, width = kernel.shape[0], kernel.shape[1]
    if height == width == 1:
        return _pointwise(x if stride == 1 else x[:, ::stride, ::stride], kernel, bias)
    if stride == 1:
        y = _conv_same(x, kernel) if on_cpu() else tf.nn.conv2d(x, kernel, 1, "SAME")
    else:
        y = tf.nn.conv2d(_pad(x, height, width), kernel, stride, "VALID")
    return y if bias is None else tf.nn.bias_add(y, bias)


def depthwise_conv2d(x: tf.Tensor, kernel: tf.Tensor, stride: int = 1) -> tf.Tensor:
    """Depthwise convolution, padded as `conv2d`.

    Args:
        x: `[B, H, W, C]`.
        kernel: `[k, k, C, 1]`, k odd.
        stride: integer, 1 or 2.

    Returns:
        `[B, H / stride, W / stride, C]`.
    """
    if stride == 1:
        forward = _depthwise_same if on_cpu() else _depthwise
        return forward(x, kernel)
    padded = _pad(x, kernel.shape[0], kernel.shape[1])
    return tf.nn.depthwise_conv2d(padded, kernel, [1, stride, stride, 1], "VALID")


def grouped_conv2d(x: tf.Tensor, kernel: tf.Tensor, groups: int, stride: int = 1) -> tf.Tensor:
    """Convolution in `groups` independent blocks of channels.

    Args:
        x: `[B, H, W, C_in]`.
        kernel: `[k, k, C_in / groups, C_out]`.
        groups: integer that divides both channel counts.
        stride: integer, 1 or 2.
    """
    blocks = zip(tf.split(x, groups, axis=-1), tf.split(kernel, groups, axis=-1))
    return tf.concat([conv2d(a, b, stride) for a, b in blocks], axis=-1)


def phase_conv2d(x: tf.Tensor, kernels, bias) -> tf.Tensor:
    """Four 1x1 convolutions, one on each pixel phase, whose outputs are concatenated.

    They are one 2x2 convolution of stride 2, most of whose kernel is zero: many times as fast as
    taking the phases apart.

    Args:
        x: `[B, H, W, C_in]`, of even height and width.
        kernels: `[1, 1, C_in, C_i]` of the phases (even, even), (odd, odd), (even, odd), (odd,
            even), in this order, as published.
        bias: `[C_0 + C_1 + C_2 + C_3]`.

    Returns:
        `[B, H / 2, W / 2, C_0 + C_1 + C_2 + C_3]`.
    """
    widths = [kernel.shape[-1] for kernel in kernels]
    taps = {}
    for index, (kernel, position) in enumerate(zip(kernels, ((0, 0), (1, 1), (0, 1), (1, 0)))):
        around = [sum(widths[:index]), sum(widths[index + 1 :])]
        taps[position] = tf.pad(kernel[0, 0], [[0, 0], around])
    rows = [tf.stack([taps[row, column] for column in range(2)]) for row in range(2)]
    return tf.nn.bias_add(tf.nn.conv2d(x, tf.stack(rows), 2, "VALID"), bias)


@tf.custom_gradient
def upsample_nearest(x: tf.Tensor) -> tf.Tensor:
    """Doubles height and width by repeating every pixel; `[B, H, W, C]` to `[B, 2H, 2W, C]`."""
    size = (2 * x.shape[1], 2 * x.shape[2])

    def gradient(dy):
        # XLA on CPUs knows no gradient of the resizing.
        return 4.0 * tf.nn.avg_pool2d(dy, 2, 2, "VALID")

    return tf.raw_ops.ResizeNearestNeighbor(images=x, size=size), gradient


def upsample_bilinear(x: tf.Tensor) -> tf.Tensor:
    """Doubles height and width, corners aligned: `[0, 1]` becomes `[0, 1/3, 2/3, 1]`."""
    size = (2 * x.shape[1], 2 * x.shape[2])
    return tf.cast(tf.raw_ops.ResizeBilinear(images=x, size=size, align_corners=True), x.dtype)


def _pad(x: tf.Tensor, height: int, width: int) -> tf.Tensor:
    rows, columns = (height - 1) // 2, (width - 1) // 2
    return tf.pad(x, [[0, 0], [rows, rows], [columns, columns], [0, 0]])


def _pointwise(x: tf.Tensor, kernel: tf.Tensor, bias) -> tf.Tensor:
    matrix = tf.reshape(kernel, kernel.shape[2:])
    flat = tf.matmul(tf.reshape(x, [-1, x.shape[-1]]), matrix)
    if bias is not None:  # before the shape changes: TensorFlow makes one op of both
        flat = tf.nn.bias_add(flat, bias)
    return tf.reshape(flat, [-1, x.shape[1], x.shape[2], kernel.shape[3]])


@tf.custom_gradient
def _conv_same(x, kernel):
    def gradient(dy):
        turned = tf.transpose(tf.reverse(kernel, [0, 1]), [0, 1, 3, 2])
        return _conv_same(dy, turned), _kernel_gradient(x, dy, kernel.shape)

    return tf.nn.conv2d(x, kernel, 1, "SAME"), gradient


def _kernel_gradient(x, dy, shape):
    return tf.raw_ops.Conv2DBackpropFilter(
        input=x,
        filter_sizes=shape.as_list(),
        out_backprop=dy,
        strides=_ONES,
        padding="SAME",
    )


def _depthwise(x, kernel):
    return tf.nn.depthwise_conv2d(x, kernel, _ONES, "SAME")


@tf.custom_gradient
def _depthwise_same(x, kernel):
    def gradient(dy):
        turned = tf.reverse(kernel, [0, 1])
        return _depthwise_same(dy, turned), _depthwise_kernel_gradient(x, dy, kernel.shape)

    return _depthwise(x, kernel), gradient


def _depthwise_kernel_gradient(x, dy, shape):
    # Sums over all pixels of a batch need the range; and of 3 x 3 taps the library is as fast.
    if x.dtype != tf.float32 or max(shape[:2]) <= _FEW_TAPS:
        return tf.raw_ops.DepthwiseConv2dNativeBackpropFilter(
            input=x,
            filter_sizes=shape.as_list(),
            out_backprop=dy,
            strides=_ONES,
            padding="SAME",
        )
    size = tuple(shape[:2])
    if np.prod(x.shape[1:3]) <= np.prod(size):
        return _depthwise_kernel_gradient_by_pairs(x, dy, size)
    return _depthwise_kernel_gradient_by_convolution(x, dy, size)


def _depthwise_kernel_gradient_by_convolution(x, dy, size):
    """Every image and channel is a channel of one large image, and `dy` the kernel that passes over
    it; the images are then summed. Two to three times as fast as the library's op."""
    _, height, width, channels = x.shape
    rows, columns = (size[0] - 1) // 2, (size[1] - 1) // 2
    images = tf.reshape(tf.transpose(x, [1, 2, 0, 3]), [1, height, width, -1])
    images = tf.pad(images, [[0, 0], [rows, rows], [columns, columns], [0, 0]])
    kernel = tf.expand_dims(tf.reshape(tf.transpose(dy, [1, 2, 0, 3]), [height, width, -1]), -1)
    taps = tf.nn.depthwise_conv2d(images, kernel, _ONES, "VALID")
    return tf.expand_dims(tf.reduce_sum(tf.reshape(taps, [*size, -1, channels]), 2), -1)


def _depthwise_kernel_gradient_by_pairs(x, dy, size):
    """Products of all pixels of `x` with all of `dy`, channel by channel, then summed over the
    pairs that each tap connects. For a 5x5 kernel on a 4x4 grid this is fewer operations than there
    are taps, and some twenty times as fast as the library's op."""
    _, height, width, channels = x.shape
    pixels = height * width
    left, right = (tf.transpose(tf.reshape(t, [-1, pixels, channels]), [2, 0, 1]) for t in (x, dy))
    pairs = tf.reshape(tf.matmul(left, right, transpose_a=True), [channels, pixels * pixels])
    taps = tf.matmul(
        _connected_pairs(height, width, size), pairs, transpose_a=True, transpose_b=True
    )
    return tf.reshape(taps, [*size, channels, 1])


def _connected_pairs(height, width, size):
    """`[pixels * pixels, taps]`, one where the tap leads from the second pixel to the first."""
    rows, columns = np.divmod(np.arange(height * width), width)
    row = rows[:, None] - rows[None, :] + size[0] // 2
    column = columns[:, None] - columns[None, :] + size[1] // 2
    inside = (row >= 0) & (row < size[0]) & (column >= 0) & (column < size[1])
    tap = np.where(inside, row * size[1] + column, -1).reshape(-1, 1)
    return tf.constant(tap == np.arange(size[0] * size[1]), tf.float32)
