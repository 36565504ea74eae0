"""Layers that train faster on CPUs are Keras's own in all else: values, gradients, weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen.layers import convolutional
from tfgen.ops.clusters import portable

LAYERS = {
    "batch norm": ("BatchNormalization", dict(momentum=0.9, epsilon=1e-3)),
    "norm without scale": ("BatchNormalization", dict(center=False, scale=False)),
    "conv": ("Conv2D", dict(filters=3, kernel_size=3, padding="same", use_bias=False)),
    "pointwise": ("Conv2D", dict(filters=3, kernel_size=1, activation="relu")),
    "depthwise": ("DepthwiseConv2D", dict(kernel_size=5, padding="same", use_bias=False)),
    # What these are not faster at.
    "strided": ("Conv2D", dict(filters=3, kernel_size=3, strides=2, padding="same")),
    "even": ("Conv2D", dict(filters=3, kernel_size=2, padding="same")),
    "dilated": ("DepthwiseConv2D", dict(kernel_size=3, padding="same", dilation_rate=2)),
    "multiplied": ("DepthwiseConv2D", dict(kernel_size=3, padding="same", depth_multiplier=2)),
}


def both(name):
    kind, options = LAYERS[name]
    plain, ours = (getattr(m, kind)(**options, name="x") for m in (keras.layers, convolutional))
    for layer in (plain, ours):
        layer.build((None, 6, 7, 4))
    rng = np.random.default_rng(0)
    ours.set_weights([rng.uniform(0.5, 1.5, v.shape) for v in plain.weights])
    plain.set_weights(ours.get_weights())
    return plain, ours


def value_and_gradients(layer, training):
    options = {"training": training} if "Norm" in type(layer).__name__ else {}
    x = tf.random.stateless_normal((5, 6, 7, 4), (1, 2)) + 3.0
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, **options)
        # Of any upstream gradient.
        loss = tf.reduce_sum(y * tf.random.stateless_normal(y.shape, (3, 4)))
    return [y, *tape.gradient(loss, [x, *(v.value for v in layer.trainable_variables)])]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", LAYERS)
def test_values_gradients_and_statistics(name, training):
    found, expected = zip(
        *[(value_and_gradients(x, training), x.get_weights()) for x in both(name)]
    )
    for actual, wanted in zip(found[1] + expected[1], found[0] + expected[0], strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=2e-4, atol=2e-5)


def test_a_batch_of_unknown_size_and_other_dtypes():
    plain, ours = both("batch norm")
    for shape, dtype in (((None, 6, 7, 4), tf.float32), ((5, 6, 7, 4), tf.float64)):
        x = tf.random.stateless_normal((5, 6, 7, 4), (1, 2))
        found = [
            tf.function(
                lambda x, layer=layer: layer(x, training=True), autograph=False
            ).get_concrete_function(tf.TensorSpec(shape, dtype))(tf.cast(x, dtype))
            for layer in (plain, ours)
        ]
        np.testing.assert_allclose(*found, rtol=1e-4, atol=1e-5)
    assert [v.path for v in ours.weights] == [v.path for v in plain.weights]
    np.testing.assert_allclose(ours.moving_variance, plain.moving_variance, rtol=1e-5)


def operations(layer, **options):
    traced = tf.function(lambda x: layer(x, **options), autograph=False)
    graph = traced.get_concrete_function(tf.TensorSpec((5, 6, 7, 4))).graph
    return {operation.type for operation in graph.get_operations()}


def test_is_faster_in_training_alone():
    _, norm = both("batch norm")
    assert "FusedBatchNormV3" in operations(norm, training=True)
    assert "FusedBatchNormV3" not in operations(norm, training=False)
    _, pointwise = both("pointwise")
    assert "MatMul" in operations(pointwise)
    with portable():  # what is converted has to know what a convolution is
        assert "MatMul" not in operations(pointwise)


def test_networks_are_made_of_them_where_they_are_asked_for():
    assert convolutional.kinds() is keras.layers
    with convolutional.trained_faster():
        layer = convolutional.kinds().Conv2D(3, 1, name="pointwise")
    assert convolutional.kinds() is keras.layers
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(layer) is type(again) is convolutional.Conv2D
    assert isinstance(again, keras.layers.Conv2D)
    assert again.name == "pointwise"
