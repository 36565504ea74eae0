"""Rectifiers with a smooth second derivative, whose values and gradients stay what they are."""

import keras
import numpy as np
import tensorflow as tf

from tfgen.privacy.network.relaxation import relaxed_relu
from tfgen.privacy.network.shared import SharedNetwork

layers = keras.layers
X = np.linspace(-2.0, 2.0, 8)  # of standard deviation 1.309
LABELS = np.array([0, 1])


def derivative(width, function):
    """Of `function(relu)` by the points X."""
    with relaxed_relu(width) as outer:
        with tf.GradientTape() as tape:
            x = tf.constant(X)
            tape.watch(x)
            value = function(tf.nn.relu, x)
        with outer:
            return value.numpy(), tape.gradient(value, x).numpy()


def slope(relu, x):
    """The gradient of a rectifier, which is a step."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = relu(x)
    return tape.gradient(value, x)


def sigmoid(width):
    return 1 / (1 + np.exp(-1.702 * X / (width * X.std())))


def test_values_are_exact_and_the_step_becomes_a_sigmoid():
    value, found = derivative(0.5, lambda relu, x: relu(x))
    np.testing.assert_array_equal(value, np.maximum(X, 0))
    np.testing.assert_allclose(found, sigmoid(0.5), rtol=1e-6)


def test_the_gradient_is_a_step_whose_jump_becomes_a_slope():
    value, found = derivative(0.5, slope)
    np.testing.assert_array_equal(value, X > 0)
    want = 1.702 / (0.5 * X.std()) * sigmoid(0.5) * (1 - sigmoid(0.5))
    np.testing.assert_allclose(found, want, rtol=1e-6)


def test_a_narrow_sigmoid_is_the_step_and_none_changes_nothing():
    _, exact = derivative(0.0, lambda relu, x: relu(x) ** 2)
    _, narrow = derivative(1e-3, lambda relu, x: relu(x) ** 2)
    np.testing.assert_allclose(narrow, exact, atol=1e-6)
    np.testing.assert_array_equal(exact, 2 * np.maximum(X, 0))


def test_outside_of_the_outer_derivative_everything_is_exact():
    with relaxed_relu(0.5), tf.GradientTape() as tape:
        x = tf.constant(X)
        tape.watch(x)
        value = tf.nn.relu(x)
    np.testing.assert_array_equal(tape.gradient(value, x), X > 0)


def rectified_net():
    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((8, 8, 3))
    x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(4, 3)(x)))
    x = layers.Activation("relu")(layers.Conv2D(4, 3)(x))
    x = layers.Dense(6, activation="relu")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(5)(x))


def test_every_rectifier_of_keras_is_reached_and_the_gradient_of_the_network_stays():
    network = SharedNetwork(rectified_net(), batch_norm_mode="train")
    images = np.float32(np.random.default_rng(0).random((2, 8, 8, 3)))
    one_hot, want = network.one_hot(LABELS), network.gradients(images, LABELS)
    calls, original = [], tf.nn.relu

    @tf.function(autograph=False)
    def step(x):
        with relaxed_relu(0.5) as outer:
            relaxed = tf.nn.relu

            def counting(*arguments, **options):
                calls.append(1)
                return relaxed(*arguments, **options)

            tf.nn.relu = counting
            with tf.GradientTape() as tape:
                tape.watch(x)
                _, gradients, _ = network.compute(x, one_hot)
                distance = tf.add_n([tf.reduce_sum(g**2) for g in gradients])
            with outer:
                return gradients, tape.gradient(distance, x)

    found, moved = step(network.normalize(images))
    assert len(calls) == 3
    assert tf.nn.relu is original
    for ours, exact in zip(found, want, strict=True):
        np.testing.assert_allclose(ours, exact, rtol=1e-4, atol=1e-6)
    assert np.all(np.isfinite(moved))
    assert np.any(moved)
