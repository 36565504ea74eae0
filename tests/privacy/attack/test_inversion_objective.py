"""What an attack minimises, zero at the truth, and how its steps shrink."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import (
    distinct_batch,
    float64,
    smooth_batch_norm_net,
)

from tfgen.privacy import (
    ATTACKS,
    AttackSettings,
    SharedNetwork,
)
from tfgen.privacy.attack.learning_rate import learning_rate_of
from tfgen.privacy.attack.optimization import Optimization
from tfgen.privacy.attack.state import TERMS, Evidence


def evidence_of(network, images, labels, **changes):
    fields = dict(
        gradients=network.gradients(images, labels),
        labels=network.one_hot(labels),
        statistics=network.statistics(images, labels),
        masks=[],
        seeds=tf.constant([0]),
    )
    return Evidence(**{**fields, **changes})


class TestObjective:
    @pytest.mark.parametrize("mode", ["eval", "train"])
    @pytest.mark.parametrize("form", ["norm", "squared", "cosine"])
    def test_truth_is_a_zero(self, mode, form):
        images, labels = distinct_batch(4)
        network = SharedNetwork(smooth_batch_norm_net(), batch_norm_mode=mode)
        settings = AttackSettings(gradient_form=form, group="none", tv_weight=0, l2_weight=0)
        step = Optimization(network, settings)
        evidence = evidence_of(network, images, labels)
        state = step.start(evidence)._replace(values=[network.normalize(images)[None]])
        terms = dict(zip(TERMS, step.evaluate(state, evidence).numpy()[:, 0]))
        assert abs(terms["gradient"]) < 1e-5
        assert terms["batch_norm"] < 1e-5
        gradients, _ = step._derivative(state, evidence)
        assert np.all(np.isfinite(gradients[0]))

    def test_statistics_of_the_other_mode_are_no_zero(self):
        images, labels = distinct_batch(4)
        model = smooth_batch_norm_net()
        network = SharedNetwork(model, batch_norm_mode="train")
        step = Optimization(network, AttackSettings(group="none"))
        other = SharedNetwork(model, batch_norm_mode="eval").statistics(images, labels)
        for statistics in (other, network.moving_statistics()):
            evidence = evidence_of(network, images, labels, statistics=statistics)
            state = step.start(evidence)._replace(values=[images[None]])
            terms = dict(zip(TERMS, step.evaluate(state, evidence).numpy()[:, 0]))
            assert terms["batch_norm"] > 0.1

    def test_the_sum_has_the_stated_weights(self):
        images, labels = distinct_batch(3)
        network = SharedNetwork(smooth_batch_norm_net(), batch_norm_mode="train")
        settings = AttackSettings(
            gradient_weight=0.3,
            tv_weight=0.5,
            l2_weight=0.7,
            batch_norm_weight=1.1,
            group_weight=1.3,
            group_start=0,
            label_weight=0.9,
        )
        step = Optimization(network, settings)
        evidence = evidence_of(network, images, labels)
        terms = dict(zip(TERMS, step.evaluate(step.start(evidence), evidence).numpy()[:, 0]))
        assert all(value > 0 for value in terms.values())
        want = sum(getattr(settings, f"{name}_weight") * terms[name] for name in TERMS[1:])
        np.testing.assert_allclose(terms["total"], want, rtol=1e-5)

    @pytest.mark.parametrize("mode", ["eval", "train"])
    def test_derivative_is_that_of_central_differences(self, mode):
        # float64 throughout: of the network, and of Keras' losses.
        images, labels = distinct_batch(2)
        with float64():
            model = smooth_batch_norm_net()
            variables = [v.value for v in model.trainable_variables]
            loss = keras.losses.CategoricalCrossentropy(from_logits=True)
            network = SharedNetwork(model, loss, batch_norm_mode=mode)
        one_hot = tf.one_hot(labels, 10, dtype=tf.float64)

        def gradients(x):
            with tf.GradientTape() as tape:
                loss = network.forward(x, one_hot)[0]
            return tape.gradient(loss, variables)

        target = gradients(tf.constant(images, tf.float64))

        @functools.partial(tf.function, autograph=False)
        def distance(x):
            return tf.add_n([tf.norm(g - t) for g, t in zip(gradients(x), target)])

        x = tf.constant(np.random.default_rng(0).random(images.shape))
        with tf.GradientTape() as tape:
            tape.watch(x)
            value = distance(x)
        found = tape.gradient(value, x).numpy()
        for index in [(0, 0, 0, 0), (0, 3, 4, 0), (1, 7, 7, 0), (1, 2, 5, 0)]:
            shift = np.zeros(images.shape)
            shift[index] = 1e-5
            want = (float(distance(x + shift)) - float(distance(x - shift))) / 2e-5
            np.testing.assert_allclose(found[index], want, rtol=1e-4, atol=1e-7)


class TestSchedule:
    def test_paper(self):
        rate = learning_rate_of(AttackSettings(num_steps=20_000))
        want = {0: 0.002, 24: 0.05, 49: 0.1, 50: 0.1, 10_025: 0.05, 19_999: 6.2e-10}
        for step, value in want.items():
            found = rate(tf.constant(step, tf.float64 if step == 19_999 else tf.int32))
            np.testing.assert_allclose(found, value, rtol=1e-2 if step == 19_999 else 1e-5)

    def test_steps(self):
        rate = learning_rate_of(AttackSettings(**{**ATTACKS["inverting_gradients"]}))
        found = [float(rate(tf.constant(s))) for s in (0, 7_499, 7_500, 12_500, 17_500)]
        np.testing.assert_allclose(found, [0.1, 0.1, 0.01, 0.001, 0.0001], rtol=1e-5)

    @pytest.mark.parametrize("steepness", [1.0, 1e32])
    def test_a_step_is_as_long_as_the_rate_however_steep_the_objective(self, steepness):
        # Unit normalisation of next to nothing has such derivatives, whose square overflows.
        step = Optimization(SharedNetwork(smooth_batch_norm_net()), AttackSettings(num_steps=10))
        zeros = tf.zeros([1, 2, 8, 8, 1])
        gradient = steepness * tf.sign(tf.random.stateless_normal(zeros.shape, [0, 1]))
        values, *_ = step._adam(tf.constant(0), 0.1, zeros, zeros, zeros, gradient)
        np.testing.assert_allclose(values, -0.1 * np.sign(gradient), rtol=1e-5)

    def test_noise_has_the_stated_size(self):
        # No gradient, no priors: only noise moves the pixels. 8 * 64 * 64 * 3 draws: the standard
        # deviation of their standard deviation is 0.2 %; 1.5 % is beyond seven of them.
        inputs = keras.Input((64, 64, 3))
        pooled = keras.layers.GlobalAveragePooling2D()(inputs)
        network = SharedNetwork(keras.Model(inputs, keras.layers.Dense(2)(pooled)))
        nothing = dict.fromkeys(
            ("gradient_weight", "tv_weight", "l2_weight", "batch_norm_weight"), 0.0
        )
        settings = AttackSettings(**nothing, group="none", clip=False, num_steps=400, num_seeds=1)
        step = Optimization(network, settings)
        evidence = Evidence([], tf.zeros([8, 2]), [], [], tf.constant([5]))
        start = step.start(evidence)
        end = step.run(start, evidence, tf.constant(400))
        rates = np.array([float(learning_rate_of(settings)(tf.constant(t))) for t in range(400)])
        want = 0.2 * np.sqrt(np.sum(rates**2))
        np.testing.assert_allclose(np.std(end.values[0] - start.values[0]), want, rtol=0.015)
