"""Annealed importance sampling where log Z is known."""

import numpy as np
import pytest
import tensorflow as tf
from problems import LinearVAE

from tfgen import samplers
from tfgen.samplers.annealed_importance import SMALLEST_SAMPLE


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


_bounds = tf.function(samplers.partition_bounds)


def bounds_of_a_lognormal(scale, seed, count=64):
    """E = scale * x over a standard normal: weights are lognormal, draws of the target exact."""
    rng = np.random.default_rng(seed)
    forward = -scale * rng.standard_normal(count)
    backward = scale * (rng.standard_normal(count) - scale)
    return _bounds(tf.constant(forward), tf.constant(backward)), 0.5 * scale**2


# From 60 effective walks of 64 down to fewer than three.
@pytest.mark.parametrize("scale", [0.25, 1.5, 2.0, 4.0])
def test_interval_holds_log_z_in_nine_of_ten_runs(scale):
    num_runs, held = 400, 0
    for seed in range(num_runs):
        bounds, truth = bounds_of_a_lognormal(scale, seed)
        low, high = bounds.interval()
        held += bool(low <= truth <= high)
    # An interval that held in 90 % would fail here once in 10,000: 3.7 standard errors.
    assert held / num_runs >= 0.90 - 3.7 * np.sqrt(0.9 * 0.1 / num_runs)


def test_interval_is_no_wider_than_two_errors_where_walks_are_many():
    bounds, _ = bounds_of_a_lognormal(0.5, 0)
    assert min(bounds.sample_size, bounds.upper_sample_size) > SMALLEST_SAMPLE
    low, high = bounds.interval()
    assert low == bounds.lower - 2 * bounds.lower_standard_error
    assert high == bounds.upper + 2 * bounds.upper_standard_error


def test_error_is_the_spread_of_repeated_runs_where_walks_are_many():
    repeated = [bounds_of_a_lognormal(1.0, seed)[0] for seed in range(300)]
    spread = np.std([float(bounds.lower) for bounds in repeated])
    stated = np.mean([float(bounds.lower_standard_error) for bounds in repeated])
    # The spread of 300 runs is known to 4 %.
    assert stated == pytest.approx(spread, rel=0.16)


def test_one_weight_that_is_all_has_an_error_of_nats():
    bounds = samplers.partition_bounds([0.0] * 63 + [20.0], [0.0] * 64)
    assert float(bounds.sample_size) == pytest.approx(1.0, abs=0.01)
    # Without it, as in a third of repeated draws, the mean would be 20 - log 64 nats less.
    assert bounds.lower_standard_error > 5
    low, _ = bounds.interval()
    assert low == bounds.lower - 3.0
