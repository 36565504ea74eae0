"""Langevin dynamics and MALA against closed forms.

Sampling tests compare with 4 standard errors of an effective sample size measured or known, so a
right sampler fails one comparison in about 16,000; seeds are fixed.
"""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from problems import LinearVAE, ScaleVAE, normal_energy

from tfgen import samplers
from tfgen.errors import UserError


def draws(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).standard_normal(shape))


class TestOneStep:
    def test_is_the_formula(self):
        x, w = draws(3, 2), draws(1, 3, 2, seed=1)
        energy = lambda x: tf.reduce_sum(tf.sin(x), axis=1)  # noqa: E731
        for scale in (1.0, 0.3):
            end, trace = samplers.langevin(energy, x, 1, 0.04, noise=w, noise_scale=scale)
            expected = x - 0.02 * np.cos(x) + scale * 0.2 * w[0]
            np.testing.assert_allclose(end, expected, rtol=1e-12)
        np.testing.assert_allclose(trace.energy[0], np.sin(x).sum(1), rtol=1e-12)
        np.testing.assert_allclose(
            trace.gradient_norm[0], np.linalg.norm(np.cos(x), axis=1), rtol=1e-12
        )

    @pytest.mark.parametrize("eta", [1e-2, 1e-3, 1e-4])
    def test_without_noise_lowers_the_energy_to_first_order(self, eta):
        # U decreases by eta / 2 |grad U|^2 (1 + O(eta)).
        noise = {"z": draws(5, 1), "x": draws(5, 2, seed=1)}
        silence = tf.nest.map_structure(lambda x: tf.zeros([1, *x.shape], x.dtype), noise)
        end, trace = samplers.langevin(LinearVAE.potential, noise, 1, eta, noise=silence)
        drop = trace.energy[0] - LinearVAE.potential(end)
        ratio = drop / (0.5 * eta * trace.gradient_norm[0] ** 2)
        np.testing.assert_allclose(ratio, 1.0, atol=3.0 * eta)
        assert np.all(np.abs(ratio - 1.0) > 0)

    def test_a_chain_has_its_own_step_size(self):
        x, w = draws(2, 4), draws(1, 2, 4, seed=1)
        end = samplers.langevin(normal_energy, x, 1, [0.1, 0.2], noise=w).state
        for row, eta in enumerate((0.1, 0.2)):
            alone = samplers.langevin(normal_energy, x, 1, eta, noise=w).state
            np.testing.assert_allclose(end[row], alone[row], rtol=1e-12)


class TestStationaryLaw:
    @pytest.mark.parametrize(
        ("eta", "num_steps", "count"), [(0.1, 200, 100_000), (0.01, 800, 20_000)]
    )
    def test_of_a_normal_is_known_exactly(self, eta, num_steps, count):
        # Variance 1 / (1 - eta / 4): not 1, so a wrong scale of drift or noise shows at once.
        run = samplers.compiled(samplers.langevin, normal_energy, num_steps=num_steps)
        end = run(tf.zeros([count, 1]), step_size=eta, seed=(3, 4)).state.numpy()
        expected = 1.0 / (1.0 - eta / 4.0)
        burnt_in = 1.0 - (1.0 - eta / 2.0) ** (2 * num_steps)  # from a start at zero
        error = expected * np.sqrt(2.0 / count)
        assert abs(np.var(end) - expected * burnt_in) < 4 * error
        assert abs(np.mean(end)) < 4 * np.sqrt(expected / count)

    def test_of_a_linear_vae_is_that_of_data_space(self):
        run = samplers.compiled(samplers.langevin, LinearVAE.potential, num_steps=500)
        start = {"z": tf.zeros([20_000, 1]), "x": tf.zeros([20_000, 2])}
        end = run(start, step_size=0.02, seed=(0, 1)).state
        x = LinearVAE.images(end).numpy()
        mean, covariance = LinearVAE.target()
        np.testing.assert_allclose(mean, [0.46203, 0.15694], atol=1e-5)
        np.testing.assert_allclose(covariance, [[0.29568, 0.12932], [0.12932, 0.10170]], atol=1e-5)
        np.testing.assert_allclose(x.mean(0), mean, atol=0.016)  # 4 standard errors
        np.testing.assert_allclose(np.cov(x.T), covariance, rtol=0.04, atol=0.005)

    @pytest.mark.parametrize("official", [False, True])
    def test_tells_the_potentials_apart(self, official):
        # Without the Jacobian's term a chain samples something else, by far.
        count = 10_000
        run = samplers.compiled(
            samplers.mala,
            lambda noise: ScaleVAE.potential(noise, official),
            num_steps=800,
        )
        start = {"z": draws(count, 1), "x": draws(count, 1, seed=1)}
        end, trace = run(start, step_size=0.2, seed=(5, 6))
        mean, variance, second = ScaleVAE.moments(official)
        published = (-0.6805, 0.9114, 0.3609) if official else (-0.2264, 0.9059, 0.4527)
        np.testing.assert_allclose((mean, variance, second), published, atol=1e-4)
        z, x = end["z"].numpy(), ScaleVAE.images(end).numpy()
        assert np.mean(trace.acceptance) > 0.5
        assert abs(z.mean() - mean) < 4 * np.sqrt(variance / count)
        assert abs(z.var() - variance) < 4 * variance * np.sqrt(2.5 / count)
        squares = x**2
        assert abs(squares.mean() - second) < 4 * squares.std() / np.sqrt(count)


class TestMALA:
    def test_is_exact_where_langevin_is_biased(self):
        count, eta = 50_000, 1.0
        for sampler, expected in ((samplers.langevin, 1 / (1 - eta / 4)), (samplers.mala, 1.0)):
            run = samplers.compiled(sampler, normal_energy, num_steps=40)
            end = run(tf.zeros([count, 1]), step_size=eta, seed=(1, 2)).state
            assert abs(np.var(end) - expected) < 4 * expected * np.sqrt(2 / count)

    def test_acceptance_is_that_of_tfp(self):
        # TFP accepts by its own formula; ours must agree move by move on the same proposals.
        x, w = draws(50, 3), draws(1, 50, 3, seed=1)
        energy = lambda x: tf.reduce_sum(tf.cosh(x), axis=1)  # noqa: E731
        eta = tf.constant(0.4, tf.float64)
        noise = samplers.ChainNoise(w, tf.fill([1, 50], tf.constant(1e-300, tf.float64)))
        end, trace = samplers.mala(energy, x, 1, eta, noise=noise)  # accepts whatever comes
        kernel = tfp.mcmc.UncalibratedLangevin(lambda x: -energy(x), eta)
        proposed = samplers.langevin(energy, x, 1, eta, noise=w).state
        np.testing.assert_allclose(end, proposed, rtol=1e-12)

        def log_q(a, b):  # log density of a move from a to b, up to a constant
            mean = a - 0.5 * eta * np.sinh(a)
            return -np.sum((b - mean) ** 2, axis=1) / (2 * eta)

        ratio = energy(x) - energy(proposed) + log_q(proposed, x) - log_q(x, proposed)
        np.testing.assert_allclose(trace.acceptance[0], np.minimum(1.0, np.exp(ratio)), rtol=1e-9)
        results = kernel.bootstrap_results(x)
        _, after = kernel.one_step(x, results, seed=(0, 1))
        assert after.log_acceptance_correction.shape == (50,)

    def test_a_rejected_chain_stays(self):
        x, w = draws(40, 2), draws(1, 40, 2, seed=1)
        certain = samplers.ChainNoise(w, tf.zeros([1, 40], tf.float64))
        acceptance = samplers.mala(normal_energy, x, 1, 1.5, noise=certain).trace.acceptance
        for factor in (0.999, 1.001):  # below the probability: accepted; above it: rejected
            noise = samplers.ChainNoise(w, factor * acceptance)
            end = samplers.mala(normal_energy, x, 1, 1.5, noise=noise).state
            moved = np.any(end.numpy() != x.numpy(), axis=1)
            doubtful = acceptance.numpy()[0] < 1.0
            assert 10 < doubtful.sum() < 40
            assert np.all(moved[doubtful] == (factor < 1))

    def test_infinite_energies_are_refused(self):
        # A wall at 1: proposals beyond it are never accepted, and the chain goes on.
        energy = lambda x: tf.where(x[:, 0] > 1.0, float("inf"), 0.5 * x[:, 0] ** 2)  # noqa: E731
        end, trace = samplers.mala(energy, tf.zeros([500, 1]), 50, 1.0, seed=(1, 1))
        assert np.max(end) <= 1.0
        assert np.all(np.isfinite(end))
        assert 0.0 < np.mean(trace.acceptance) < 1.0


class TestCalls:
    STATE = {"z": draws(4, 3), "x": draws(4, 2, 2)}  # noqa: RUF012

    def noise(self, steps=3):
        normal = tf.nest.map_structure(lambda x: draws(steps, *x.shape), self.STATE)
        return samplers.ChainNoise(normal, tf.constant(np.random.default_rng(2).random((steps, 4))))

    @pytest.mark.parametrize("sampler", [samplers.langevin, samplers.mala, samplers.hmc])
    def test_graph_xla_and_unrolled_equal_eager(self, sampler):
        expected = sampler(normal_energy, self.STATE, 3, 0.1, noise=self.noise())
        for jit_compile, unroll in ((False, False), (True, False), (False, True)):
            run = samplers.compiled(sampler, normal_energy, jit_compile, num_steps=3, unroll=unroll)
            actual = run(self.STATE, step_size=tf.constant(0.1, tf.float64), noise=self.noise())
            tf.nest.map_structure(
                lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9), actual, expected
            )

    @pytest.mark.parametrize("sampler", [samplers.langevin, samplers.mala, samplers.hmc])
    def test_a_seed_per_chain_makes_it_independent_of_its_batch(self, sampler):
        seeds = tf.constant([5, 6, 7, 8])
        whole = sampler(normal_energy, self.STATE, 4, 0.1, seeds=seeds)
        part = tf.nest.map_structure(lambda x: x[1:3], self.STATE)
        alone = sampler(normal_energy, part, 4, 0.1, seeds=seeds[1:3])
        for name in self.STATE:
            np.testing.assert_allclose(alone.state[name], whole.state[name][1:3], rtol=1e-12)
        other = sampler(normal_energy, self.STATE, 4, 0.1, seeds=seeds + 1)
        assert np.all(other.state["z"] != whole.state["z"])

    def test_steps_and_chains_get_different_noise(self):
        flat = lambda x: 0.0 * x[:, 0]  # noqa: E731
        for source in ({"seeds": tf.range(500)}, {"seed": (1, 2)}):
            one, two = (
                samplers.langevin(flat, tf.zeros([500, 2]), k, 1.0, **source).state.numpy()
                for k in (1, 2)
            )
            moves = np.concatenate([one, two - one], axis=1)
            correlation = np.corrcoef(moves.T) - np.eye(4)
            assert np.max(np.abs(correlation)) < 4.5 / np.sqrt(500)
            np.testing.assert_allclose(np.cov(moves.T), np.eye(4), atol=5 * np.sqrt(2 / 500))

    def test_no_second_trace_for_one_shape(self):
        traces = []

        def energy(x):
            traces.append(x.shape)
            return normal_energy(x)

        run = samplers.compiled(samplers.langevin, energy, num_steps=2)
        for seed in range(3):
            run(
                tf.zeros([3, 2]),
                step_size=tf.constant(0.1 * (seed + 1)),
                seed=tf.constant([seed, 1]),
            )
        first = len(traces)
        run(tf.zeros([3, 2]), step_size=tf.constant(0.9), seed=tf.constant([9, 9]))
        assert len(traces) == first == 1

    def test_half_precision_states_are_lifted(self):
        start = tf.ones([2, 3], tf.float16)
        end = samplers.langevin(normal_energy, start, 1, 1e-5, seed=(0, 0), noise_scale=0.0).state
        assert end.dtype == tf.float32
        np.testing.assert_allclose(end, 1 - 0.5e-5, rtol=1e-7)
        assert np.all(end < 1)

    @pytest.mark.parametrize("sources", [{}, {"seed": (1, 2), "seeds": tf.range(2)}])
    def test_one_source_of_noise(self, sources):
        with pytest.raises(UserError, match="one of noise=, seeds= and seed="):
            samplers.langevin(normal_energy, tf.zeros([2, 2]), 1, 0.1, **sources)

    def test_says_what_is_missing(self):
        with pytest.raises(UserError, match="uniform"):
            samplers.mala(normal_energy, draws(4, 3), 1, 0.1, noise=draws(1, 4, 3))
        with pytest.raises(UserError, match=r"\[batch, \.\.\.\]"):
            samplers.langevin(normal_energy, tf.zeros([]), 1, 0.1, seed=(0, 0))
        with pytest.raises(ValueError, match="at least 1"):
            samplers.langevin(normal_energy, tf.zeros([2, 2]), 0, 0.1, seed=(0, 0))
