"""A convolution with the mean in its kernel against the two after one another, in float64."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.layers.bank import ParameterBank
from tfgen.layers.weights import FoldedWeights, LiveWeights
from tfgen.ops.pooled_convolution import pooled_conv2d, pooled_kernel

RNG = np.random.default_rng(0)
SHAPES = [(3, (8, 8)), (3, (4, 6)), (3, (7, 6)), (3, (2, 2)), (5, (8, 4)), (1, (6, 4)), (1, (5, 7))]


def inputs(size, grid, channels=3, filters=4, batch=2):
    shapes = ((batch, *grid, channels), (size, size, channels, filters), (filters,))
    return [RNG.standard_normal(shape) for shape in shapes]


def reference(x, kernel, bias):
    """Convolution with zeros around, then means of 2x2 pixels, written out."""
    size, (_, height, width, _) = kernel.shape[0], x.shape
    p = (size - 1) // 2
    padded = np.pad(x, [(0, 0), (p, p), (p, p), (0, 0)])
    taps = np.ndindex(size, size)
    y = bias + sum(padded[:, i : i + height, j : j + width] @ kernel[i, j] for i, j in taps)
    y = y[:, : height // 2 * 2, : width // 2 * 2]
    return y.reshape(len(x), height // 2, 2, width // 2, 2, -1).mean((2, 4))


def pooled(x, kernel, bias):
    return pooled_conv2d(x, pooled_kernel(kernel), bias)


@pytest.mark.parametrize(("size", "grid"), SHAPES)
def test_equals_convolution_then_mean(size, grid):
    arguments = inputs(size, grid)
    actual = pooled(*(tf.constant(a, tf.float32) for a in arguments))
    np.testing.assert_allclose(actual, reference(*arguments), atol=2e-6)


@pytest.mark.parametrize(("size", "grid"), SHAPES)
def test_gradients_are_exact(size, grid):
    # The map is linear in x, kernel and bias each, so its differences are its derivatives.
    arguments = inputs(size, grid, channels=2, filters=2, batch=1)
    dy = RNG.standard_normal(reference(*arguments).shape)
    tensors = [tf.constant(a, tf.float32) for a in arguments]
    with tf.GradientTape() as tape:
        tape.watch(tensors)
        y = pooled(*tensors)
    found = tape.gradient(y, tensors, output_gradients=tf.constant(dy, tf.float32))
    for place, gradient in enumerate(found):
        expected, zero = np.zeros(gradient.shape), [np.array(a) for a in arguments]
        zero[2] = np.zeros_like(zero[2])
        for index in np.ndindex(*gradient.shape):
            unit = np.zeros(gradient.shape)
            unit[index] = 1.0
            if place == 2:
                expected[index] = np.sum(dy[..., index[0]])
            else:
                changed = [unit if i == place else a for i, a in enumerate(zero)]
                expected[index] = np.sum(reference(*changed) * dy)
        np.testing.assert_allclose(gradient, expected, atol=5e-6)


def test_second_derivatives_exist():
    x, kernel, bias = (tf.constant(a, tf.float32) for a in inputs(3, (4, 4)))

    def norm_of_gradient(kernel):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.reduce_sum(tf.sin(pooled(x, kernel, bias)))
        return tf.reduce_sum(tape.gradient(y, x) ** 2)

    with tf.GradientTape() as tape:
        tape.watch(kernel)
        value = norm_of_gradient(kernel)
    gradient = tape.gradient(value, kernel)
    direction = tf.constant(RNG.standard_normal(kernel.shape), tf.float32)
    step = 1e-2
    ends = [norm_of_gradient(kernel + sign * step * direction) for sign in (1, -1)]
    slope = float((ends[0] - ends[1]) / (2 * step))
    np.testing.assert_allclose(tf.reduce_sum(gradient * direction), slope, rtol=5e-3)


def test_unknown_grids_and_batches():
    arguments = inputs(3, (6, 4))
    tensors = [tf.constant(a, tf.float32) for a in arguments]
    signature = [tf.TensorSpec((None, None, None, 3)), *map(tf.TensorSpec.from_tensor, tensors[1:])]
    actual = tf.function(pooled, input_signature=signature)(*tensors)
    np.testing.assert_allclose(actual, reference(*arguments), atol=2e-6)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 2e-2), ("bfloat16", 1.5e-1)])
def test_sixteen_bits(dtype, tolerance):
    arguments = inputs(3, (8, 8))
    actual = pooled(*(tf.cast(a, dtype) for a in arguments))
    assert actual.dtype == dtype
    np.testing.assert_allclose(tf.cast(actual, tf.float32), reference(*arguments), atol=tolerance)


@pytest.mark.parametrize("size", [1, 3])
def test_both_views_pool_what_they_convolve(size):
    bank = ParameterBank()
    conv = bank.conv(3, 4, size)
    bank.build()
    live, x = LiveWeights(bank), tf.constant(RNG.standard_normal((2, 6, 8, 3)), tf.float32)
    expected = tf.nn.avg_pool2d(live.conv(conv, x), 2, 2, "VALID")
    np.testing.assert_allclose(live.pooled_conv(conv, x), expected, atol=1e-6)
    folded = FoldedWeights(live)
    for _ in range(2):  # folded, then kept
        np.testing.assert_allclose(folded.pooled_conv(conv, x), expected, atol=1e-6)
    assert folded.folded[conv][0].shape[0] == (size if size == 1 else size + 1)
