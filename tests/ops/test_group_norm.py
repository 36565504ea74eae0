"""Group norm with its activation in one op, against the sums written out in float64."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.ops import group_norm as ops
from tfgen.ops.group_norm import EPSILON, group_norm

RNG = np.random.default_rng(0)


def composed(x, scale, offset, *shift, groups, activation):
    x = x + tf.reshape(shift[0], [x.shape[0], *[1] * (x.shape.rank - 2), -1]) if shift else x
    grouped = tf.reshape(x, [x.shape[0], -1, groups, x.shape[-1] // groups])
    mean = tf.reduce_mean(grouped, [1, 3], keepdims=True)
    variance = tf.reduce_mean(tf.square(grouped - mean), [1, 3], keepdims=True)
    y = tf.reshape((grouped - mean) / tf.sqrt(variance + EPSILON), x.shape) * scale + offset
    return y / (1.0 + tf.exp(-y)) if activation == "swish" else y


def normed(x, scale, offset, *shift, **options):
    return group_norm(x, scale, offset, shift=shift[0] if shift else None, **options)


def value_and_gradients(function, arguments, dtype, **options):
    arguments = [tf.constant(a, dtype) for a in arguments]
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        y = function(*arguments, **options)
        loss = tf.reduce_sum(tf.sin(y))
    return [y, *tape.gradient(loss, arguments)]


@pytest.mark.parametrize("cpu_form", [True, False])
@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize("activation", ["swish", None])
@pytest.mark.parametrize("shape", [(3, 4, 5, 6), (3, 6)])
def test_values_and_gradients(monkeypatch, cpu_form, shifted, activation, shape):
    monkeypatch.setattr(ops, "pays", lambda x: cpu_form)
    x = RNG.standard_normal(shape) * 2.0 + RNG.standard_normal(6)
    arguments = [x, RNG.uniform(0.5, 2.0, 6), RNG.standard_normal(6)]
    arguments += [RNG.standard_normal((3, 6))] * shifted
    options = dict(groups=3, activation=activation)
    found = value_and_gradients(normed, arguments, tf.float32, **options)
    expected = value_and_gradients(composed, arguments, tf.float64, **options)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)


def test_sums_of_half_precision_are_float32():
    x = tf.constant(200.0 + RNG.standard_normal((1, 64, 64, 4)), tf.float16)
    y = group_norm(x, tf.ones([4]), tf.zeros([4]), 1)
    assert y.dtype == tf.float16
    assert abs(np.std(y.numpy().astype(np.float32)) - 1.0) < 1e-2
