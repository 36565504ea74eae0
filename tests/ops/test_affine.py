"""Rows times a kernel plus a bias, and its gradients, against float64."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.ops.affine import affine

RNG = np.random.default_rng(0)


def value_and_gradients(function, arguments, dy):
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        y = function(*arguments)
    return y, tape.gradient(y, arguments, output_gradients=tf.cast(dy, y.dtype))


@pytest.mark.parametrize("units", [2, 7], ids=["narrow", "wide"])
def test_equals_a_dense_layer_in_float64(units):
    arrays = RNG.normal(size=(5, 8)), RNG.normal(size=(8, units)), RNG.normal(size=units)
    dy = RNG.normal(size=(5, units))
    rows, kernel, bias = arrays
    y, found = value_and_gradients(affine, [tf.constant(a, tf.float32) for a in arrays], dy)
    wanted = [dy @ kernel.T, rows.T @ dy, dy.sum(0)]
    np.testing.assert_allclose(y, rows @ kernel + bias, rtol=1e-5, atol=1e-5)
    for gradient, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(gradient, want, rtol=1e-5, atol=1e-5)


def test_a_bias_that_does_not_matter_has_no_gradient():
    arrays = [tf.constant(RNG.normal(size=s)) for s in ((5, 8), (8, 3), (3,))]

    def centred(rows, kernel, bias, **options):
        y = affine(rows, kernel, bias, **options)
        return y - tf.reduce_mean(y, axis=0)

    dy = RNG.normal(size=(5, 3))
    plain, wanted = value_and_gradients(centred, arrays, dy)
    y, found = value_and_gradients(lambda *a: centred(*a, bias_matters=False), arrays, dy)
    np.testing.assert_array_equal(y, plain)
    for gradient, want in zip(found, wanted, strict=True):
        np.testing.assert_allclose(gradient, want, atol=1e-14)
    assert not np.any(found[2])
