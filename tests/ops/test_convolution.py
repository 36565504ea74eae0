"""Convolutions and resizing against sums written out in float64."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.ops import convolution
from tfgen.ops.convolution import (
    conv2d,
    depthwise_conv2d,
    grouped_conv2d,
    phase_conv2d,
    upsample_bilinear,
    upsample_nearest,
)

RNG = np.random.default_rng(0)


def reference(x, kernel, stride=1):
    """`sum_ijc x[s r + i - p, s q + j - p, c] k[i, j, c, f]` with zeros outside the image."""
    size = kernel.shape[0]
    p = (size - 1) // 2
    padded = np.pad(x, [(0, 0), (p, p), (p, p), (0, 0)])
    height, width = (-(-n // stride) for n in x.shape[1:3])
    y = np.zeros((x.shape[0], height, width, kernel.shape[3]))
    for i in range(size):
        for j in range(size):
            part = padded[:, i : i + stride * height : stride, j : j + stride * width : stride]
            y += part[:, :height, :width] @ kernel[i, j]
    return y


def reference_depthwise(x, kernel, stride=1):
    """A full kernel that is diagonal in the channels does the same."""
    channels = kernel.shape[2]
    return reference(x, np.eye(channels) * kernel[..., :1].transpose(0, 1, 3, 2), stride)


def both_gradients(function, x, kernel, dy):
    x, kernel = tf.constant(x, tf.float32), tf.constant(kernel, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch([x, kernel])
        y = function(x, kernel)
    return tape.gradient(y, [x, kernel], output_gradients=tf.constant(dy, tf.float32))


def reference_gradients(function, x, kernel, dy):
    """The map is linear in each argument, so unit steps give its gradients exactly."""
    results = []
    for argument in (x, kernel):
        gradient = np.zeros(argument.shape)
        for index in np.ndindex(*argument.shape):
            unit = np.zeros(argument.shape)
            unit[index] = 1.0
            pair = (unit, kernel) if argument is x else (x, unit)
            gradient[index] = np.sum(function(*pair) * dy)
        results.append(gradient)
    return results


@pytest.fixture(params=[True, False], ids=["cpu form", "library form"])
def cpu_form(request, monkeypatch):
    """Both ways of computing: the one for CPUs and the library's own."""
    monkeypatch.setattr(convolution, "on_cpu", lambda: request.param)


@pytest.mark.usefixtures("cpu_form")
class TestConvolution:
    @pytest.mark.parametrize("size", [1, 3, 5])
    @pytest.mark.parametrize("stride", [1, 2])
    def test_values(self, size, stride):
        x, kernel = RNG.standard_normal((2, 6, 8, 3)), RNG.standard_normal((size, size, 3, 4))
        y = conv2d(tf.constant(x, tf.float32), tf.constant(kernel, tf.float32), stride)
        np.testing.assert_allclose(y, reference(x, kernel, stride), rtol=1e-5, atol=1e-5)

    @pytest.mark.parametrize("size", [1, 3])
    @pytest.mark.parametrize("stride", [1, 2])
    def test_gradients(self, size, stride):
        x, kernel = RNG.standard_normal((1, 4, 6, 2)), RNG.standard_normal((size, size, 2, 3))
        dy = RNG.standard_normal((1, 4 // stride, 6 // stride, 3))
        actual = both_gradients(lambda x, k: conv2d(x, k, stride), x, kernel, dy)
        expected = reference_gradients(lambda x, k: reference(x, k, stride), x, kernel, dy)
        for a, b in zip(actual, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)

    # On a grid of 4x6 a 5x5 kernel has more taps than there are pixels, a 3x3 kernel fewer.
    @pytest.mark.parametrize("size", [3, 5])
    @pytest.mark.parametrize("stride", [1, 2])
    def test_depthwise(self, size, stride):
        x, kernel = RNG.standard_normal((2, 4, 6, 3)), RNG.standard_normal((size, size, 3, 1))
        y = depthwise_conv2d(tf.constant(x, tf.float32), tf.constant(kernel, tf.float32), stride)
        np.testing.assert_allclose(y, reference_depthwise(x, kernel, stride), rtol=1e-5, atol=1e-5)
        dy = RNG.standard_normal(y.shape)
        actual = both_gradients(lambda x, k: depthwise_conv2d(x, k, stride), x, kernel, dy)
        expected = reference_gradients(
            lambda x, k: reference_depthwise(x, k, stride), x, kernel, dy
        )
        for a, b in zip(actual, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)

    def test_grouped_is_block_diagonal(self):
        x, kernel = RNG.standard_normal((2, 5, 4, 4)), RNG.standard_normal((3, 3, 2, 6))
        full = np.zeros((3, 3, 4, 6))
        full[:, :, :2, :3], full[:, :, 2:, 3:] = kernel[..., :3], kernel[..., 3:]
        y = grouped_conv2d(tf.constant(x, tf.float32), tf.constant(kernel, tf.float32), 2)
        np.testing.assert_allclose(y, reference(x, full), rtol=1e-5, atol=1e-5)

    def test_second_derivative(self):
        # Gradient penalties differentiate the gradient: d/dk of |d(y)/dx|^2.
        x, kernel = tf.random.normal((1, 4, 4, 2)), tf.random.normal((3, 3, 2, 2))
        with tf.GradientTape() as outer:
            outer.watch(kernel)
            with tf.GradientTape() as inner:
                inner.watch(x)
                y = tf.reduce_sum(tf.square(conv2d(x, kernel)))
            penalty = tf.reduce_sum(tf.square(inner.gradient(y, x)))
        gradient = outer.gradient(penalty, kernel)

        def library(k):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = tf.reduce_sum(tf.square(tf.nn.conv2d(x, k, 1, "SAME")))
            return tf.reduce_sum(tf.square(tape.gradient(y, x)))

        with tf.GradientTape() as tape:
            tape.watch(kernel)
            value = library(kernel)
        np.testing.assert_allclose(gradient, tape.gradient(value, kernel), rtol=1e-4, atol=1e-3)

    @pytest.mark.parametrize("function", [conv2d, depthwise_conv2d])
    def test_batch_of_unknown_size(self, function, need_empty_batches):
        kernel = tf.ones((3, 3, 2, 1 if function is depthwise_conv2d else 4))

        @tf.function(input_signature=[tf.TensorSpec([None, 4, 4, 2])])
        def gradient(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = function(x, kernel)
            return tape.gradient(y, x)

        assert gradient(tf.ones((3, 4, 4, 2))).shape == (3, 4, 4, 2)
        need_empty_batches()
        assert gradient(tf.ones((0, 4, 4, 2))).shape == (0, 4, 4, 2)

    @pytest.mark.parametrize("function", [conv2d, depthwise_conv2d])
    @pytest.mark.parametrize("size", [3, 5])
    def test_kernel_gradient_adds_up_over_a_batch_of_unknown_size(self, function, size):
        kernel = tf.random.normal((size, size, 2, 1 if function is depthwise_conv2d else 4))

        @tf.function(input_signature=[tf.TensorSpec([None, 4, 4, 2])])
        def gradient(x):
            with tf.GradientTape() as tape:
                tape.watch(kernel)
                y = tf.reduce_sum(tf.square(function(x, kernel)))
            return tape.gradient(y, kernel)

        image = tf.random.normal((1, 4, 4, 2))
        np.testing.assert_allclose(
            gradient(tf.tile(image, [3, 1, 1, 1])), 3 * gradient(image), rtol=1e-4, atol=1e-4
        )


def test_stride_two_is_centred_on_even_rows():
    # Output i covers input rows 2i - 1 to 2i + 1; the library's "SAME" would cover 2i to 2i + 2.
    kernel = tf.ones((3, 3, 1, 1))
    for row in range(8):
        impulse = np.zeros((1, 8, 8, 1), np.float32)
        impulse[0, row, 4] = 1.0
        hit = np.flatnonzero(conv2d(tf.constant(impulse), kernel, 2)[0, :, 2, 0])
        expected = [i for i in range(4) if 2 * i - 1 <= row <= 2 * i + 1]
        assert hit.tolist() == expected, row


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_dtype_is_kept(dtype):
    x, kernel = tf.ones((1, 4, 4, 2), dtype), tf.ones((3, 3, 2, 2), dtype)
    for y in (
        conv2d(x, kernel),
        conv2d(x, kernel, 2),
        conv2d(x, kernel[:1, :1]),
        upsample_bilinear(x),
        upsample_nearest(x),
    ):
        assert y.dtype == dtype


def test_bilinear_aligns_corners():
    # Half-pixel centres would give 0, 1/4, 3/4, 1.
    row = tf.reshape(tf.constant([0.0, 1.0]), (1, 1, 2, 1))
    np.testing.assert_allclose(upsample_bilinear(row)[0, 0, :, 0], [0, 1 / 3, 2 / 3, 1], atol=1e-6)


def test_bilinear_is_a_product_of_two_matrices():
    def matrix(size):
        positions = np.arange(2 * size) * (size - 1) / (2 * size - 1)
        return np.maximum(0, 1 - np.abs(positions[:, None] - np.arange(size)))

    x = RNG.standard_normal((2, 3, 5, 4))
    expected = np.einsum("ah,bw,nhwc->nabc", matrix(3), matrix(5), x)
    np.testing.assert_allclose(upsample_bilinear(tf.constant(x, tf.float32)), expected, atol=1e-5)


def test_nearest_repeats_every_pixel():
    x = RNG.standard_normal((2, 3, 5, 4)).astype(np.float32)
    np.testing.assert_array_equal(upsample_nearest(tf.constant(x)), x.repeat(2, 1).repeat(2, 2))


def test_phases_come_in_the_published_order():
    numbers = tf.tile(tf.reshape([[0.0, 1.0], [2.0, 3.0]], (1, 2, 2, 1)), [1, 3, 4, 1])
    y = phase_conv2d(numbers, [tf.ones((1, 1, 1, 1))] * 4, tf.zeros(4))
    assert y.shape == (1, 3, 4, 4)
    np.testing.assert_array_equal(y, np.broadcast_to([0.0, 3.0, 1.0, 2.0], y.shape))


def test_phase_convolution_is_four_convolutions():
    x = RNG.standard_normal((2, 6, 4, 3)).astype(np.float32)
    kernels = [RNG.standard_normal((1, 1, 3, width)).astype(np.float32) for width in (1, 2, 2, 3)]
    bias = RNG.standard_normal(8).astype(np.float32)
    shifted = [x[:, r::2, c::2] for r, c in ((0, 0), (1, 1), (0, 1), (1, 0))]
    expected = np.concatenate([part @ k[0, 0] for part, k in zip(shifted, kernels)], -1) + bias
    actual = phase_conv2d(tf.constant(x), list(map(tf.constant, kernels)), tf.constant(bias))
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_gradient_of_repeated_pixels_is_their_sum(jit_compile):
    x = tf.constant(np.random.default_rng(0).standard_normal((2, 3, 4, 5)), tf.float32)
    weights = np.random.default_rng(1).standard_normal((2, 6, 8, 5)).astype(np.float32)

    @tf.function(jit_compile=jit_compile)
    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(weights * upsample_nearest(x))
        return tape.gradient(loss, x)

    wanted = weights.reshape(2, 3, 2, 4, 2, 5).sum(axis=(2, 4))
    np.testing.assert_allclose(gradient(x), wanted, atol=1e-5)
