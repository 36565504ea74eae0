"""The bound in T steps against closed forms: exact expectations, by nodes instead of draws."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from known_scores import VP, Mixture, Normal, quantiles

from tfgen.errors import UserError
from tfgen.ops.diffusion import VESDE, GeometricVPSDE
from tfgen.samplers.diffusion import discretized_bound

HALF_LOG_TWO_PI = 0.5 * np.log(2.0 * np.pi)


def expected_bound(predict, mu, s, num_steps, sde=VP, **options):
    """The bound's mean over z ~ N(mu, s^2) and noise, which is quadratic: two nodes each do."""
    z = tf.constant([[mu + s], [mu + s], [mu - s], [mu - s]], tf.float64)
    noise = np.tile([[1.0], [-1.0]] * 2, (num_steps, 1, 1))
    options = {"noise": noise, **options}
    run = functools.partial(discretized_bound, sde, predict, z, num_steps, **options)
    return float(np.mean(tf.function(run, autograph=False)().nats))


class TestNormalPrediction:
    @pytest.mark.parametrize("num_steps", [2, 100, 1000, 4000])
    @pytest.mark.parametrize(("mu", "s"), [(0.0, 1.0), (1.0, 0.5)])
    def test_is_the_cross_entropy_whatever_the_steps(self, mu, s, num_steps):
        expected = HALF_LOG_TWO_PI + 0.5 * (mu**2 + s**2)
        found = expected_bound(Normal(), mu, s, num_steps)
        np.testing.assert_allclose(found, expected, rtol=1e-9)

    @pytest.mark.parametrize(
        ("num_steps", "expected"), [(100, 2.329), (1000, 1.987), (4000, 1.907)]
    )
    def test_is_looser_with_the_posterior_variance(self, num_steps, expected):
        found = expected_bound(Normal(), 0.0, 1.0, num_steps, posterior_variance=True)
        assert abs(found - expected) < 5e-4

    def test_from_a_later_time(self):
        # Standard Normal latents stay that, so any time's latents have the same cross entropy.
        found = expected_bound(Normal(), 0.3, 0.8, 50, end=0.02)
        np.testing.assert_allclose(found, HALF_LOG_TWO_PI + 0.5 * (0.09 + 0.64), rtol=1e-9)


class TestOtherDiffusions:
    @pytest.mark.parametrize("sde", [GeometricVPSDE(), VESDE(1e-3, 1e4)], ids=["geometric", "ve"])
    def test_of_a_normal_is_near_its_cross_entropy(self, sde):
        # Noise at t = 0 belongs to the latents whose density it is.
        target = Normal(s=0.5, sde=sde)
        spread = np.sqrt(target.variance(tf.constant(0.0, tf.float64)))
        exact = HALF_LOG_TWO_PI + np.log(spread) + 0.5
        coarse, fine = (
            expected_bound(target, 0.0, float(spread), count, sde) for count in (500, 2000)
        )
        assert exact - 1e-9 < fine < coarse
        assert fine - exact < 0.03


class TestDraws:
    def test_bounds_the_density_of_a_mixture(self):
        z = tf.repeat(quantiles(9), 50, axis=0)
        run = functools.partial(discretized_bound, VP, Mixture(), num_steps=200, seed=(0, 1))
        found = tf.function(run, autograph=False)(z)
        assert found.terms.shape == (200, 450)
        nats = np.reshape(found.nats, (9, 50))
        away = (np.reshape(quantiles(9), (-1, 1)) - Mixture.MEANS) / Mixture.STDS
        exact = -np.log(
            np.exp(-0.5 * away**2) / Mixture.STDS @ Mixture.WEIGHTS / np.sqrt(2 * np.pi)
        )
        errors = nats.std(1, ddof=1) / np.sqrt(50)
        assert np.all(nats.mean(1) > exact - 4 * errors)
        assert np.all(nats.mean(1) < exact + 4 * errors + 0.2)

    def test_no_state_depends_on_its_batch(self):
        z, seeds = quantiles(3), tf.constant([1, 2, 3])
        together = discretized_bound(VP, Mixture(), z, 5, seeds=seeds).nats
        alone = discretized_bound(VP, Mixture(), z[1:2], 5, seeds=seeds[1:2]).nats
        np.testing.assert_allclose(together[1], alone[0], rtol=1e-9)

    def test_bad_input_gets_a_sentence(self):
        z = quantiles(3)
        for options, message in (
            ({"num_steps": 1, "seed": (0, 1)}, "num_steps is 1; expected at least 2"),
            ({"num_steps": 5}, "one of noise=, seeds= and seed=; got none"),
            ({"num_steps": 5, "seed": (0, 1), "end": 1.0}, "expected 0 <= end < start <= 1"),
            ({"num_steps": 5, "noise": tf.zeros((4, 3, 1))}, "with an axis of steps before it"),
        ):
            with pytest.raises(UserError, match=message):
                discretized_bound(VP, Mixture(), z, **options)
