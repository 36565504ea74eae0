"""Hamiltonian Monte Carlo against closed forms and against TFP.

Sampling tests compare with 4 standard errors, or state theirs; seeds are fixed.
"""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from problems import LinearVAE, normal_energy

from tfgen import samplers


def draws(*shape, seed=0):
    return tf.constant(np.random.default_rng(seed).standard_normal(shape))


def test_leapfrog_of_a_normal_is_a_rotation():
    # Of order h^2: halving the step quarters the error at the same time.
    x, p, errors = draws(6, 2), draws(1, 6, 2, seed=1), []
    for steps in (20, 40, 80):
        noise = samplers.ChainNoise(p, tf.zeros([1, 6], tf.float64))
        end = samplers.hmc(
            normal_energy, x, 1, 1.0 / steps, num_leapfrog_steps=steps, noise=noise
        ).state
        errors.append(np.max(np.abs(end - (np.cos(1.0) * x + np.sin(1.0) * p[0]))))
    orders = np.log2(np.divide(errors[:-1], errors[1:]))
    np.testing.assert_allclose(orders, 2.0, atol=0.05)


def test_a_proposal_is_that_of_tfp():
    x, p = draws(30, 3), draws(1, 30, 3, seed=1)
    energy = lambda x: tf.reduce_sum(tf.cosh(x), axis=1)  # noqa: E731
    noise = samplers.ChainNoise(p, tf.zeros([1, 30], tf.float64))
    end, trace = samplers.hmc(energy, x, 1, 0.2, num_leapfrog_steps=7, noise=noise)
    integrator = tfp.mcmc.internal.leapfrog_integrator.SimpleLeapfrogIntegrator(
        lambda x: -energy(x), [tf.constant(0.2, tf.float64)], 7
    )
    momentum, state, target, _ = integrator([p[0]], [x])
    np.testing.assert_allclose(end, state[0], rtol=1e-10)
    kinetic = 0.5 * tf.reduce_sum(p[0] ** 2 - momentum[0] ** 2, axis=1)
    ratio = target + energy(x) + kinetic
    np.testing.assert_allclose(trace.acceptance[0], np.minimum(1, np.exp(ratio)), rtol=1e-9)


def test_samples_the_linear_vae_exactly():
    count = 20_000
    run = samplers.compiled(samplers.hmc, LinearVAE.potential, num_steps=30, num_leapfrog_steps=4)
    start = {"z": tf.zeros([count, 1]), "x": tf.zeros([count, 2])}
    end, trace = run(start, step_size=0.45, seed=(0, 1))
    x = LinearVAE.images(end).numpy()
    mean, covariance = LinearVAE.target()
    assert 0.5 < np.mean(trace.acceptance) < 1.0
    np.testing.assert_allclose(x.mean(0), mean, atol=4 * np.sqrt(covariance.max() / count))
    # A covariance has standard error below sqrt(2) of the larger variance.
    error = covariance.max() * np.sqrt(2 / count)
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=4 * error)


def test_step_size_finds_the_target_for_every_chain():
    # Chains of different stiffness: each finds its own step size, whatever its batch.
    stiffness = tf.constant([[1.0], [100.0]])
    energy = lambda x: 0.5 * tf.reduce_sum((stiffness[: tf.shape(x)[0]] * x) ** 2, axis=1)  # noqa: E731
    run = samplers.compiled(
        samplers.mala, energy, num_steps=600, num_adaptation_steps=400, target_acceptance=0.574
    )
    _, trace = run(tf.ones([2, 4]) / stiffness, step_size=0.1, seeds=tf.constant([1, 2]))
    after = np.mean(trace.acceptance[400:], axis=0)
    np.testing.assert_allclose(after, 0.574, atol=0.12)  # 200 correlated probabilities
    sizes = trace.step_size.numpy()
    assert np.ptp(sizes[400:], axis=0).max() == 0.0  # fixed once found
    assert 30.0**2 < sizes[-1, 0] / sizes[-1, 1] < 300.0**2
    _, alone = run(tf.ones([1, 4]), step_size=0.1, seeds=tf.constant([1]))
    np.testing.assert_allclose(alone.step_size[-1], sizes[-1, :1], rtol=1e-4)


def test_diagnostics():
    run = samplers.compiled(samplers.langevin, normal_energy, num_steps=400)
    trace = run(draws(20, 5), step_size=1.0, seed=(0, 0)).trace
    size = float(samplers.effective_sample_size(trace.energy))
    assert 400 < size < 8000
    assert abs(float(samplers.potential_scale_reduction(trace.energy)) - 1.0) < 0.05
    apart = tf.cast(tf.range(20), tf.float64) + trace.energy
    assert samplers.potential_scale_reduction(apart) > 2
    images = np.zeros([5, 2, 2])
    images[2] = 1
    assert samplers.num_distinct(images) == 2
    # An AR(1) chain of known correlation: rho = 0.9 leaves (1 - rho) / (1 + rho) of the draws.
    rng, values = np.random.default_rng(0), [np.zeros(50)]
    for _ in range(2000):
        values.append(0.9 * values[-1] + np.sqrt(1 - 0.81) * rng.standard_normal(50))
    size = samplers.effective_sample_size(np.array(values[1:]))
    np.testing.assert_allclose(size, 2000 * 50 * 0.1 / 1.9, rtol=0.15)
    assert samplers.summary(trace)["acceptance"] == 1.0


def test_a_start_of_infinite_energy_is_left():
    def half_normal(x):
        return tf.where(x[:, 0] < 0, np.float32(np.inf), 0.5 * x[:, 0] ** 2)

    chain = samplers.hmc(half_normal, tf.constant([[-0.3], [0.3]]), 100, 0.5, seed=(1, 2))
    assert np.all(chain.state.numpy() > 0)
    energies = chain.trace.energy.numpy()
    assert np.isinf(energies[0, 0])
    assert np.all(np.isfinite(energies[50:]))  # and nothing goes back
    assert np.all(np.isfinite(chain.trace.acceptance))
