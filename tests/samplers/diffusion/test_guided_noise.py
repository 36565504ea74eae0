"""Guided predictors against posteriors in closed form."""

import numpy as np
import pytest
import tensorflow as tf
from known_scores import VP, Mixture, Normal, compiled, quantiles

from tfgen.errors import UserError
from tfgen.ops.diffusion import VESDE, GeometricVPSDE
from tfgen.samplers.diffusion import (
    RK45,
    DPMSolver,
    classifier_free_guidance,
    classifier_guidance,
    observation,
    reconstruction_guidance,
    starting_state,
)

T = tf.constant([0.02, 0.1, 0.4, 0.9], tf.float64)
Z = tf.constant([[0.3], [-1.2], [2.0], [0.1]], tf.float64)
LEFT, RIGHT = Normal(-1.5, 0.3), Normal(1.0, 0.5)


def is_right(z, t):
    """log P(right component | z_t)."""
    logits = []
    for share, part in zip(Mixture.WEIGHTS, (LEFT, RIGHT)):
        variance = part.variance(t)
        away = z[:, 0] - VP.mean(t) * part.mu
        logits.append(np.log(share) - 0.5 * (away**2 / variance + tf.math.log(variance)))
    return tf.nn.log_softmax(tf.stack(logits, axis=1))[:, 1]


class TestClasses:
    def test_a_classifier_picks_its_component(self):
        # Bayes: the mixture's score and the classifier's gradient are the component's score.
        guided = classifier_guidance(VP, Mixture(), is_right)
        np.testing.assert_allclose(guided(Z, T), RIGHT(Z, T), rtol=1e-9)
        np.testing.assert_allclose(
            classifier_guidance(VP, Mixture(), is_right, 0.0)(Z, T), Mixture()(Z, T)
        )

    def test_samples_are_of_the_component(self):
        guided = classifier_guidance(VP, Mixture(), is_right)
        found = compiled(DPMSolver(40), guided)(quantiles(500)).state
        assert abs(np.mean(found) - 1.0) < 0.02
        assert abs(np.std(found) - 0.5) < 0.02

    def test_without_a_classifier(self):
        for scale in (0.0, 1.0, 3.0):
            guided = classifier_free_guidance(RIGHT, Mixture(), scale)
            expected = Mixture()(Z, T) + scale * (RIGHT(Z, T) - Mixture()(Z, T))
            np.testing.assert_allclose(guided(Z, T), expected, rtol=1e-12)


class TestReconstruction:
    @pytest.mark.parametrize("sde", [VP, GeometricVPSDE(), VESDE(1e-4, 1e4)])
    def test_of_normal_latents_is_exact(self, sde):
        # z ~ N(0, 1 - s0^2) seen as y with deviation 0.4.
        prior = np.sqrt(1.0 - sde.initial_variance)
        seen = observation([[1.3, np.nan]], [[1, 0]], 0.4)
        guided = reconstruction_guidance(sde, Normal(s=prior, sde=sde), seen)
        start = starting_state(sde, tf.concat([quantiles(300), quantiles(300)], axis=1))
        found = compiled(RK45(1e-5, 1e-5), guided, sde)(start).state
        shrunk = prior**2 / (prior**2 + 0.16)
        np.testing.assert_allclose(np.mean(found, 0), [1.3 * shrunk, 0.0], atol=0.02)
        np.testing.assert_allclose(np.std(found, 0), [np.sqrt(0.16 * shrunk), 1.0], atol=0.02)

    def test_hidden_coordinates_follow_the_seen_ones(self):
        # Of latents with correlation 0.8, the hidden one is expected at 0.8 times the seen one.
        covariance = tf.constant([[1.0, 0.8], [0.8, 1.0]], tf.float64)

        def correlated(z, t):
            column = lambda x: tf.reshape(x, [-1, 1, 1])  # noqa: E731
            spread = column(VP.mean(t)) ** 2 * covariance
            spread += column(VP.variance(t)) * tf.eye(2, dtype=tf.float64)
            solved = tf.linalg.solve(spread, tf.expand_dims(z, -1))[..., 0]
            return tf.reshape(VP.std(t), [-1, 1]) * solved

        guided = reconstruction_guidance(VP, correlated, observation([1.5, 0.0], [1, 0], 0.05))
        start = tf.random.stateless_normal((500, 2), (0, 1), dtype=tf.float64)
        found = compiled(DPMSolver(60), guided)(start).state
        assert abs(np.mean(found[:, 0]) - 1.5) < 0.05
        assert abs(np.mean(found[:, 1]) - 1.2) < 0.15

    def test_runs_written_out_as_in_a_loop(self):
        guided = reconstruction_guidance(VP, Mixture(), observation([[0.5]], [[1]]))
        looped = DPMSolver(8).solve(VP, guided, quantiles(3))
        again = DPMSolver(8).solve(VP, guided, quantiles(3), unroll=True)
        np.testing.assert_allclose(looped.state, again.state, rtol=1e-9)


WRONG = {
    "scale": (lambda: classifier_free_guidance(RIGHT, LEFT, -1.0), "scale is -1.0; expected at"),
    "deviation": (lambda: observation([1.0], [1], 0.0), "deviation is 0.0; expected above 0"),
    "seen NaN": (lambda: observation([np.nan], [1]), "the seen values are not finite"),
    "a sum": (
        lambda: classifier_guidance(VP, RIGHT, lambda z, t: tf.reduce_sum(z))(Z, T),
        r"the log-probability has shape \(\); expected \(4,\)",
    ),
    "no gradient": (
        lambda: classifier_guidance(VP, RIGHT, lambda z, t: tf.zeros(4))(Z, T),
        "no gradient reaches the state",
    ),
    "another shape": (
        lambda: reconstruction_guidance(VP, RIGHT, observation([[0.0, 1.0]], 1))(Z, T),
        "values and a mask that broadcast to the latents",
    ),
}


@pytest.mark.parametrize(("call", "message"), WRONG.values(), ids=WRONG)
def test_bad_input_gets_a_sentence(call, message):
    with pytest.raises(UserError, match=message):
        call()
