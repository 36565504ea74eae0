"""Densities by the ODE against closed forms, and latents to noise and back."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from known_scores import VP, Mixture, Normal, compiled, quantiles
from scipy import stats

from tfgen.errors import ConfigError, UserError
from tfgen.ops.diffusion import VESDE, GeometricVPSDE, SubVPSDE
from tfgen.samplers.diffusion import (
    RK45,
    DPMSolver,
    EulerMaruyama,
    flow_log_prob,
    interpolate,
    spherical,
)

COVARIANCE = np.array([[1.0, 0.6, 0.0], [0.6, 0.8, -0.3], [0.0, -0.3, 0.5]])


def correlated(z, t):
    """N(0, COVARIANCE): its Jacobian is not diagonal, so that probes matter."""
    column = lambda x: tf.reshape(x, [-1, 1, 1])  # noqa: E731
    spread = column(VP.mean(t)) ** 2 * COVARIANCE + column(VP.variance(t)) * np.eye(3)
    solved = tf.linalg.solve(spread, tf.expand_dims(z, -1))[..., 0]
    return tf.reshape(VP.std(t), [-1, 1]) * solved


def density(predict, sde=VP, **options):
    run = functools.partial(flow_log_prob, sde, predict, **options)
    return tf.function(run, autograph=False)


def normals(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).standard_normal(shape))


class TestOfANormal:
    def test_of_64_dimensions_takes_44_evaluations(self):
        z = 0.5 * normals(3, 64)
        found = density(Normal(s=0.5))(z, seeds=tf.range(3))
        expected = stats.norm(0.0, 0.5).logpdf(z).sum(axis=1)
        # A probe drawn anew at each evaluation would take thousands.
        np.testing.assert_array_equal(found.num_evaluations, 44)
        np.testing.assert_allclose(found.log_prob, expected, atol=3e-4)
        assert np.all(np.isnan(found.standard_error))
        assert np.all(found.success)

    def test_normal_probes_are_right_on_average(self):
        # Of an isotropic Jacobian their variance is 2 D times that of one direction.
        count = 400
        z = tf.repeat(0.5 * normals(1, 64), count, axis=0)
        solver = RK45(1e-3, 1e-3)
        found = density(Normal(s=0.5), solver=solver, divergence="normal")(z, seeds=tf.range(count))
        errors = found.log_prob - stats.norm(0.0, 0.5).logpdf(z).sum(axis=1)
        spread = np.sqrt(128) * 0.693
        assert abs(np.mean(errors)) < 4 * spread / np.sqrt(count)
        assert abs(np.std(errors) / spread - 1.0) < 4 / np.sqrt(2 * count)

    @pytest.mark.parametrize("sde", [SubVPSDE(), VESDE(1e-4, 400.0), GeometricVPSDE()])
    def test_under_every_diffusion(self, sde):
        z = 0.5 * normals(4, 5)
        target = Normal(s=0.5, sde=sde)
        found = density(target, sde, divergence="exact")(z)
        end = target.variance(tf.constant(1.0, tf.float64)) / sde.final_variance
        # What is taken for N(0, final variance) at t = 1 is not quite that.
        mismatch = 2.5 * abs(0.5 * np.log(end)) + np.sum(found.noise**2, 1) * abs(1 - end)
        start = np.sqrt(target.variance(tf.constant(1e-5, tf.float64)))
        expected = stats.norm(0.0, start).logpdf(z).sum(axis=1)
        assert np.all(np.abs(found.log_prob - expected) < 1e-3 + 5 * mismatch)


class TestDivergence:
    def test_exact_of_a_mixture(self):
        z = quantiles(9)
        found = density(Mixture(), solver=RK45(1e-6, 1e-6), divergence="exact")(z)
        # At t = 1 it is not quite the Normal that it is taken for.
        end = Mixture().density(found.noise, 1.0) / stats.norm.pdf(found.noise)
        expected = np.log(Mixture().density(z, 1e-5))
        np.testing.assert_allclose(found.log_prob + np.log(end)[:, 0], expected[:, 0], atol=2e-5)
        np.testing.assert_array_equal(found.standard_error, 0.0)

    def test_probes_agree_with_the_exact_one(self):
        z = normals(3, 3)
        expected = stats.multivariate_normal(np.zeros(3), COVARIANCE).logpdf(z)
        exact = density(correlated, divergence="exact")(z)
        np.testing.assert_allclose(exact.log_prob, expected, atol=1e-3)
        solver = RK45(1e-3, 1e-3)
        for divergence in ("rademacher", "normal"):
            run = density(correlated, solver=solver, divergence=divergence, num_probes=100)
            found = run(z, seeds=tf.range(3))
            assert np.all(np.abs(found.log_prob - expected) < 4 * found.standard_error + 0.01)
            assert np.all(found.standard_error > 0.01)

    def test_standard_error_is_that_of_the_probes(self):
        z, probes = normals(1, 3), normals(4, 1, 3, seed=1)
        solver = RK45(1e-4, 1e-4)
        together = density(correlated, solver=solver)(z, probes=probes)
        one = density(correlated, solver=solver)
        alone = [one(z, probes=p[None]).log_prob for p in probes]
        np.testing.assert_allclose(together.log_prob, np.mean(alone, axis=0), atol=5e-3)
        error = np.std(alone, axis=0, ddof=1) / np.sqrt(4)
        np.testing.assert_allclose(together.standard_error, error, atol=5e-3)

    def test_no_state_depends_on_its_batch_or_traces_again(self):
        z, seeds = normals(4, 3), tf.constant([4, 5, 6, 7])
        run = density(correlated, solver=RK45(1e-3, 1e-3))
        together = run(z, seeds=seeds)
        run(z + 1.0, seeds=seeds + 1)
        assert run.experimental_get_tracing_count() == 1
        alone = run(z[2:3], seeds=seeds[2:3])
        np.testing.assert_allclose(together.log_prob[2], alone.log_prob[0], atol=1e-10)
        assert together.num_evaluations[2] == alone.num_evaluations[0]

    def test_bad_input_gets_a_sentence(self):
        z = normals(4, 3)
        for options, message in (
            ({}, "takes one of seeds= and probes="),
            ({"seeds": [1], "probes": z[None]}, "takes one of seeds= and probes="),
            ({"seeds": [1]}, r"seeds has shape \(1,\); expected \(4,\)"),
            ({"probes": z}, r"the probes are \(4, 3\) and the states \(4, 3\)"),
            ({"seeds": range(4), "num_probes": 0}, "num_probes is 0; expected at least 1"),
        ):
            with pytest.raises(UserError, match=message):
                flow_log_prob(VP, correlated, z, **options)
        with pytest.raises(ConfigError, match="divergence 'skilling' is unknown"):
            flow_log_prob(VP, correlated, z, divergence="skilling")


class TestInterpolation:
    def test_on_the_sphere(self):
        first, second = tf.constant([[3.0, 0.0], [1.0, 1.0]]), tf.constant([[0.0, 3.0], [2.0, 2.0]])
        found = spherical(first, second, [0.0, 0.5, 1.0])
        np.testing.assert_allclose(found[0], first, atol=1e-6)
        np.testing.assert_allclose(found[2], second, atol=1e-6)
        np.testing.assert_allclose(found[1, 0], [3 / np.sqrt(2)] * 2, rtol=1e-6)
        np.testing.assert_allclose(found[1, 1], [1.5, 1.5])  # of one direction: the straight line

    @pytest.mark.parametrize("solver", [RK45(1e-7, 1e-7), DPMSolver(150)])
    def test_ends_where_it_was_told_to(self, solver):
        first, second = normals(2, 3), normals(2, 3, seed=1)
        run = tf.function(functools.partial(interpolate, solver, VP, Mixture()), autograph=False)
        found = run(first, second, num_points=3).state
        assert found.shape == (6, 3)
        np.testing.assert_allclose(found[:2], first, atol=2e-3 if solver.order == 5 else 0.05)
        np.testing.assert_allclose(found[-2:], second, atol=2e-3 if solver.order == 5 else 0.05)

    def test_bad_input_gets_a_sentence(self):
        z = normals(2, 3)
        with pytest.raises(UserError, match=r"\(2, 3\) and \(1, 3\); expected one shape"):
            interpolate(RK45(), VP, Mixture(), z, z[:1])
        with pytest.raises(UserError, match="num_points is 1; expected at least 2"):
            interpolate(RK45(), VP, Mixture(), z, z, num_points=1)
        with pytest.raises(UserError, match="has no way back"):
            interpolate(EulerMaruyama(), VP, Mixture(), z, z)


def test_noise_of_latents_is_normal():
    z = tf.constant(np.random.default_rng(0).choice([-1.5, 1.0], (2000, 1), p=[0.3, 0.7]))
    z += np.where(z < 0, 0.3, 0.5) * normals(2000, 1)
    noise = compiled(RK45(1e-3, 1e-3), Mixture(), way="encode")(z).state
    assert stats.kstest(noise[:, 0], "norm").pvalue > 1e-3
