"""Adam clipped by its own history, against float64 and against optax-like plain formulas."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen.optimizers import ClippedAdam
from tfgen.optimizers.clipped_adam import clipped_adam_update

RATE, B1, B2, EPSILON, DECAY = 0.1, 0.9, 0.99, 1e-8, 0.01


def reference(p, gradients, factor=3.0, offset=0.1):
    """The definition, step by step, in float64."""
    m = v = np.zeros_like(p)
    for t, g in enumerate(gradients, 1):
        if t > 1 and factor is not None:
            bound = factor * np.sqrt(v / (1 - B2 ** (t - 1))) + offset
            g = np.clip(g, -bound, bound)
        g = g + DECAY * p
        m, v = B1 * m + (1 - B1) * g, B2 * v + (1 - B2) * g * g
        p = p - RATE * (m / (1 - B1**t)) / (np.sqrt(v / (1 - B2**t)) + EPSILON)
    return p


def gradients():
    rng = np.random.default_rng(0)
    result = [rng.standard_normal(7) for _ in range(6)]
    result[3] *= 1e4  # what the clip is for
    return result


@pytest.mark.parametrize("factor", [3.0, None])
def test_steps_match_float64(factor):
    start = np.linspace(-1, 1, 7)
    variable = keras.Variable(start, dtype="float64")
    optimizer = ClippedAdam(RATE, B1, B2, EPSILON, DECAY, clip_factor=factor)
    optimizer.build([variable])
    for g in gradients():
        optimizer.apply([tf.constant(g)], [variable])
    np.testing.assert_allclose(variable, reference(start, gradients(), factor), rtol=1e-5)
    assert np.max(np.abs(reference(start, gradients(), 3.0) - reference(start, gradients(), None)))


def clipped(g, v_hat, t=2.0):
    """The gradient that enters the moments: read from m with beta_1 = 0."""
    t = tf.constant(t, tf.float64)
    v = tf.constant([v_hat * (1 - B2 ** (float(t) - 1))], tf.float64)
    zero = tf.zeros([1], tf.float64)
    _, m, _ = clipped_adam_update(
        zero, zero, v, tf.constant([g], tf.float64), t, 1.0, 0.0, B2, 0.0, 0.0, 3.0, 0.1
    )
    return float(m[0])


def test_the_bound():
    assert clipped(10.0, 1.0) == pytest.approx(3.1)
    assert clipped(-10.0, 1.0) == pytest.approx(-3.1)
    assert clipped(0.05, 0.0) == pytest.approx(0.05)
    assert clipped(0.5, 0.0) == pytest.approx(0.1)


def test_the_first_step_is_unclipped():
    assert clipped(1e6, 0.0, t=1.0) == 1e6


def test_without_clipping_and_decay_it_is_adam():
    variables = [keras.Variable(np.ones(3), dtype="float64") for _ in range(2)]
    ours = ClippedAdam(RATE, B1, B2, 1e-8, clip_factor=None)
    keras_adam = keras.optimizers.Adam(RATE, B1, B2, epsilon=1e-8)
    for optimizer, variable in zip((ours, keras_adam), variables):
        optimizer.build([variable])
        for g in gradients():
            optimizer.apply([tf.constant(g[:3])], [variable])
    np.testing.assert_allclose(variables[0], variables[1], rtol=1e-5)


def test_the_factor_scales_the_rate():
    results = []
    for rate, factor in ((RATE, 0.5), (RATE / 2, 1.0)):
        variable = keras.Variable(np.ones(3), dtype="float64")
        optimizer = ClippedAdam(rate)
        optimizer.build([variable])
        optimizer.rate_factor.assign(factor)
        optimizer.apply([tf.constant([1.0, -2.0, 3.0], tf.float64)], [variable])
        results.append(variable.numpy())
    np.testing.assert_allclose(results[0], results[1], rtol=1e-6)
    assert np.all(results[0] != 1)
