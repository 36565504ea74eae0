"""Annealed importance sampling where log Z is known."""

import numpy as np
import pytest
import tensorflow as tf
from problems import LinearVAE

from tfgen import samplers


def energy(noise):
    return LinearVAE.energy(LinearVAE.images(noise))


def start(count, seed):
    rng = np.random.default_rng(seed)
    return {
        "z": tf.constant(rng.standard_normal((count, 1))),
        "x": tf.constant(rng.standard_normal((count, 2))),
    }


def test_log_z_of_the_linear_vae_from_both_sides():
    assert abs(LinearVAE.log_z() + 1.54260) < 1e-5
    betas = samplers.sigmoid_schedule(40)
    pilot = tf.function(
        lambda s: samplers.annealed_importance(energy, s, betas, 0.5, seed=(0, 1), pilot=True)
    )(start(500, 0))
    sizes = tf.reduce_mean(pilot.trace.step_size, axis=1)
    assert 0.4 < np.mean(pilot.trace.acceptance[10:]) < 0.9

    @tf.function
    def walk(s, betas, sizes, seed):
        return samplers.annealed_importance(energy, s, betas, sizes, seed=seed)

    forward = walk(start(10_000, 1), betas, sizes, (1, 2))
    # The forward walk ends near the target; HMC takes it there before the way back.
    target = samplers.compiled(samplers.hmc, LinearVAE.potential, num_steps=20)
    draws = target(forward.state, step_size=0.4, seed=(3, 4)).state
    backward = walk(draws, betas[::-1], sizes[::-1], (5, 6))
    bounds = samplers.partition_bounds(forward.log_weight, backward.log_weight)
    for side, error in (
        (bounds.lower, bounds.lower_standard_error),
        (bounds.upper, bounds.upper_standard_error),
    ):
        assert error < 0.006
        assert abs(side - LinearVAE.log_z()) < max(4 * error, 0.01)
    # Single weights bound log Z from below and above by a clear margin.
    assert np.mean(forward.log_weight) < LinearVAE.log_z() < -np.mean(backward.log_weight)
    assert 5_000 < bounds.sample_size <= 10_000


def test_one_step_is_simple_importance_sampling():
    s = start(200, 0)
    walk = samplers.annealed_importance(energy, s, [0.0, 1.0], 0.1, seed=(0, 0))
    np.testing.assert_allclose(walk.log_weight, -energy(s), rtol=1e-12)


def test_kernels_leave_their_law_invariant():
    # At beta 0 throughout, weights are one and states stay standard normal.
    walk = samplers.annealed_importance(energy, start(20_000, 0), tf.zeros([6]), 1.2, seed=(0, 0))
    assert np.all(walk.log_weight.numpy() == 0.0)
    assert abs(np.var(walk.state["x"]) - 1.0) < 4 * np.sqrt(2 / 40_000)


def test_schedule():
    betas = samplers.sigmoid_schedule(10).numpy()
    assert betas[0] == 0.0
    assert betas[-1] == pytest.approx(1.0)
    assert np.all(np.diff(betas) > 0)
    assert betas[1] - betas[0] < betas[5] - betas[4]
