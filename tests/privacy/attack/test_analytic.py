"""Exact recovery through a dense layer."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.privacy.attack.analytic import exclusive_units, recover_dense_input, recover_dense_inputs


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-14), ("float32", 1e-6)])
def test_one_input_is_exact(dtype, tolerance):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((1, 20)).astype(dtype)
    layer = keras.layers.Dense(7, activation="relu", dtype=dtype, bias_initializer="normal")
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(tf.sin(3.0 * layer(x)))
    gradients = tape.gradient(loss, layer.trainable_variables)
    found = recover_dense_input(*gradients)
    np.testing.assert_allclose(found, x[0], atol=tolerance)
    assert (np.asarray(gradients[1]) == 0).any(), "no unit is off: skipping is not tested"


def test_units_that_fire_alone_show_their_image_in_a_batch():
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 20))
    weights, bias = rng.standard_normal((20, 400)), np.full(400, -3.0)
    z = x @ weights + bias
    upstream = rng.standard_normal(z.shape) * (z > 0)
    counts = exclusive_units(np.maximum(z, 0))
    assert counts.min() > 5
    rows = recover_dense_inputs(x.T @ upstream, upstream.sum(axis=0))
    for k in range(3):
        hits = np.abs(rows - x[k]).max(axis=1) < 1e-9
        assert hits.sum() == counts[k]


def test_mistakes():
    with pytest.raises(UserError, match="no unit"):
        recover_dense_input(np.zeros((3, 2)), np.zeros(2))
    with pytest.raises(UserError, match="expected \\[inputs, units\\]"):
        recover_dense_input(np.zeros((3, 2)), np.zeros(3))
