"""What training does beside the weights: normalising over a batch or an image, and dropout."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import PLAIN, distinct_batch, float64, relu_net, smooth_batch_norm_net, threat_model

from tfgen.privacy import DPSGD, AttackSettings, NoDefence, SharedNetwork
from tfgen.privacy.attack.gradient_distance import gradient_distance
from tfgen.privacy.attack.optimization import Optimization
from tfgen.privacy.attack.state import TERMS, Evidence

layers = keras.layers


class InstanceNormalization(layers.Layer):
    """As users write it."""

    def call(self, inputs):
        mean, variance = tf.nn.moments(inputs, [1, 2], keepdims=True)
        return (inputs - mean) * tf.math.rsqrt(variance + 1e-3)


@pytest.mark.parametrize(
    "make",
    [
        layers.LayerNormalization,
        lambda: layers.LayerNormalization(axis=[1, 2, 3]),
        lambda: layers.GroupNormalization(2),
        InstanceNormalization,
        layers.BatchNormalization,
    ],
)
def test_second_derivatives_are_those_of_central_differences(make):
    images, labels = distinct_batch(2)
    with float64():
        keras.utils.set_random_seed(1)
        inputs = keras.Input((8, 8, 1))
        x = layers.Conv2D(4, 3, 2)(inputs)
        x = layers.Activation("softplus")(make()(x))
        model = keras.Model(inputs, layers.Dense(10)(layers.Flatten()(x)))
        network = SharedNetwork(model, batch_norm_mode="train")
    target, one_hot = network.gradients(images, labels), network.one_hot(labels)

    @tf.function(autograph=False)
    def distance(x):
        return gradient_distance(network.compute(x, one_hot)[1], target, "squared")

    rng = np.random.default_rng(0)
    x, direction = tf.constant(rng.random(images.shape)), rng.standard_normal(images.shape)
    with tf.GradientTape() as tape:
        tape.watch(x)
        value = distance(x)
    found = float(tf.reduce_sum(tape.gradient(value, x) * direction))
    want = float(distance(x + 1e-5 * direction) - distance(x - 1e-5 * direction)) / 2e-5
    np.testing.assert_allclose(found, want, rtol=1e-5)
    assert tf.nn.moments.__module__.startswith("tensorflow")  # as it was


def test_unit_norm_of_a_vector_of_zeros_differentiates_twice():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = layers.ReLU()(layers.Conv2D(4, 3, use_bias=False)(inputs))
    x = layers.UnitNormalization()(x)
    model = keras.Model(inputs, layers.Dense(10)(layers.Flatten()(x)))
    images, labels = distinct_batch(2)
    images[0, :5] = 0  # black, so that whole vectors are
    network = SharedNetwork(model)
    with tf.GradientTape() as outer:
        x = tf.constant(images)
        outer.watch(x)
        _, gradients, _ = network.compute(x, network.one_hot(labels))
        squares = tf.add_n([tf.reduce_sum(g**2) for g in gradients])
    with tf.GradientTape() as tape:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, model(images))
    want = tape.gradient(loss, [v.value for v in model.trainable_variables])
    for ours, theirs in zip(gradients, want, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-7)
    assert np.all(np.isfinite(outer.gradient(squares, x)))


def test_in_float64_the_gradient_is_that_of_keras_to_the_last_digits():
    # In float32 networks with small batch variances, MobileNets above all, amplify rounding.
    images, labels = distinct_batch(2)
    with float64():
        model = smooth_batch_norm_net()
        found = SharedNetwork(model, batch_norm_mode="train").gradients(images, labels)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        with tf.GradientTape() as tape:
            value = loss(labels, model(tf.constant(images, tf.float64), training=True))
        want = tape.gradient(value, [v.value for v in model.trainable_variables])
    for a, b in zip(found, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-13)


def test_what_a_layer_assigns_in_a_step_is_no_part_of_its_derivative():
    # Spectral normalisation replaces its kernel before it uses it.
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 1))
    x = layers.SpectralNormalization(layers.Conv2D(4, 3, activation="relu"))(inputs)
    model = keras.Model(inputs, layers.Dense(10)(layers.Flatten()(x)))
    images, labels = distinct_batch(2)
    before = model.get_weights()
    network = SharedNetwork(model, batch_norm_mode="train")
    found = network.gradients(images, labels)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)
    with tf.GradientTape() as tape:
        outputs = model(images, training=True)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, outputs)
    want = tape.gradient(loss, [v.value for v in model.trainable_variables])
    for ours, theirs in zip(found, want, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("count", "frozen"), [(0, "none"), (1, "some"), (2, "all")])
def test_frozen_batch_norm(count, frozen):
    model = smooth_batch_norm_net()
    norms = [x for x in model.layers if isinstance(x, layers.BatchNormalization)]
    for layer in norms[:count]:
        layer.trainable = False
    network = SharedNetwork(model, batch_norm_mode="train")
    assert network.frozen_batch_norms == frozen
    assert network.mixes_images == (frozen != "all")
    assert not network.in_mode("eval").mixes_images
    first = threat_model(batch_norm_mode="train").describe(frozen=frozen)[0]
    assert ("statistics of its own batch" in first) == (frozen != "all")
    assert ("moving averages" in first) == (frozen != "none")
    if frozen == "all":  # then the gradient of every example is its own
        images, labels = distinct_batch(2)
        released = DPSGD(1e6, 0.0).release(network, images, labels)
        for ours, whole in zip(released, network.gradients(images, labels), strict=True):
            np.testing.assert_allclose(ours, whole, rtol=1e-4, atol=1e-6)


def dropout_net():
    keras.utils.set_random_seed(0)
    return keras.Sequential([*relu_net().layers[:-1], layers.Dropout(0.5), layers.Dense(10)])


class TestDropout:
    IMAGES, LABELS = distinct_batch(2)

    @pytest.fixture(scope="class")
    def network(self):
        model = dropout_net()
        model.build((None, 8, 8, 1))
        return SharedNetwork(model, batch_norm_mode="train")

    def test_masks_are_drawn_anew(self, network):
        first, second = (network.gradients(self.IMAGES, self.LABELS)[-1] for _ in range(2))
        assert np.abs(first - second).max() > 1e-3

    def test_masks_of_a_seed_repeat(self, network):
        calls = [network.gradients(self.IMAGES, self.LABELS, seed=s)[-1] for s in (3, 3, 4)]
        np.testing.assert_array_equal(calls[0], calls[1])
        assert np.abs(calls[0] - calls[2]).max() > 1e-3

    def test_defences_release_the_masks_of_their_seed(self, network):
        for defence in (NoDefence(), DPSGD(1.0, 0.0)):
            released = [
                defence.release(network, self.IMAGES, self.LABELS, s)[-1] for s in (3, 3, 4)
            ]
            np.testing.assert_array_equal(released[0], released[1])
            assert np.abs(released[0] - released[2]).max() > 1e-3

    def test_nothing_is_dropped_in_inference(self, network):
        calls = [
            network.in_mode("eval").gradients(self.IMAGES, self.LABELS, seed=s)[-1] for s in (1, 2)
        ]
        np.testing.assert_array_equal(*calls)

    def test_the_attacker_does_not_know_the_masks(self, network):
        # At the truth itself the gradients differ, by other masks in every step.
        step = Optimization(network, AttackSettings(num_steps=1, **PLAIN))
        evidence = Evidence(
            network.gradients(self.IMAGES, self.LABELS, seed=0),
            network.one_hot(self.LABELS),
            [],
            [],
            tf.constant([0]),
        )
        state = step.start(evidence)._replace(values=[network.normalize(self.IMAGES)[None]])
        terms = [
            step.evaluate(state._replace(step=tf.constant(s)), evidence)[TERMS.index("gradient"), 0]
            for s in (0, 1)
        ]
        assert min(terms) > 0.1
        assert terms[0] != terms[1]

    def test_it_is_an_assumption(self):
        assert any("masks" in s for s in threat_model(batch_norm_mode="train").describe())
        sentences = threat_model().describe(batch_norm=False, dropout=False)
        assert len(sentences) == 2
