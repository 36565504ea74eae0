"""Weight normalisation against float64."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.ops import weight_norm as module
from tfgen.ops.spectral import largest_singular_value, power_iteration
from tfgen.ops.weight_norm import EPSILON, initial_log_gain, weight_norm

RNG = np.random.default_rng(0)


def stacks(n=3, fan_in=7, filters=5):
    return RNG.standard_normal((n, fan_in, filters)), 0.5 * RNG.standard_normal((n, filters))


def composed(kernels, log_gain):
    norm = tf.sqrt(tf.reduce_sum(kernels**2, 1, keepdims=True))
    return tf.exp(log_gain)[:, None] * kernels / (norm + EPSILON)


def value_and_gradients(function, arguments, dy, dtype):
    arguments = [tf.constant(a, dtype) for a in arguments]
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        y = function(*arguments)
    return y, *tape.gradient(y, arguments, output_gradients=tf.constant(dy, dtype))


@pytest.mark.parametrize("fused", [True, False])
def test_values_and_gradients(fused, monkeypatch):
    monkeypatch.setattr(module, "_FUSED_FROM", 0 if fused else 2**40)
    arguments = stacks()
    dy = RNG.standard_normal(arguments[0].shape)
    actual = value_and_gradients(weight_norm, arguments, dy, tf.float32)
    expected = value_and_gradients(composed, arguments, dy, tf.float64)
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_every_filter_has_the_norm_of_its_gain():
    kernels, log_gain = stacks()
    norms = np.linalg.norm(
        weight_norm(tf.constant(kernels, tf.float32), tf.constant(log_gain, tf.float32)), axis=1
    )
    np.testing.assert_allclose(norms, np.exp(log_gain), rtol=1e-4)


def test_starts_about_as_it_was_drawn():
    kernels = tf.constant(stacks()[0], tf.float32)
    norm = np.linalg.norm(kernels, axis=1, keepdims=True)
    expected = kernels * (norm + 0.01) / (norm + EPSILON)
    np.testing.assert_allclose(weight_norm(kernels, initial_log_gain(kernels)), expected, rtol=1e-5)


@pytest.mark.parametrize("fused", [True, False])
def test_zero_filter_is_harmless(fused, monkeypatch):
    monkeypatch.setattr(module, "_FUSED_FROM", 0 if fused else 2**40)
    kernels, log_gain = stacks()
    kernels[0, :, 0] = 0.0
    results = value_and_gradients(weight_norm, (kernels, log_gain), kernels, tf.float32)
    assert all(np.all(np.isfinite(r)) for r in results)


def test_spectral_gradient_moves_the_gain():
    # Scaling a raw kernel leaves sigma where it is, so only the gain can lower it.
    kernels, log_gain = (tf.constant(a, tf.float32) for a in stacks())
    vectors = [tf.ones((3, 7)) / 7**0.5, tf.ones((3, 5)) / 5**0.5]

    def sigma(kernels, log_gain):
        effective = weight_norm(kernels, log_gain)
        return largest_singular_value(effective, *power_iteration(effective, *vectors, 200))

    with tf.GradientTape() as tape:
        tape.watch([kernels, log_gain])
        value = sigma(kernels, log_gain)
        total = tf.reduce_sum(value)
    dkernels, dgain = tape.gradient(total, [kernels, log_gain])
    np.testing.assert_allclose(sigma(3.0 * kernels, log_gain), value, rtol=1e-4)
    np.testing.assert_allclose(sigma(kernels, log_gain + 0.1), np.exp(0.1) * value, rtol=1e-4)
    # sigma is homogeneous of degree one in exp(g) and of degree zero in each filter.
    np.testing.assert_allclose(tf.reduce_sum(dgain, 1), value, rtol=1e-4)
    np.testing.assert_allclose(tf.reduce_sum(dkernels * kernels, 1), tf.zeros((3, 5)), atol=1e-4)
