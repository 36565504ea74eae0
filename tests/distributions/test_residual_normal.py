"""Clamped and residual Normals as TFP distributions."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tensorflow_probability as tfp

from tfgen.distributions import ClampedNormal, ResidualNormal
from tfgen.ops import gaussian

tfd = tfp.distributions


def random_pair(shape=(2, 4, 4, 3), spread=1.0, seed=0):
    rng = np.random.default_rng(seed)
    loc, log_scale = rng.normal(0, 2, (2, *shape)).astype(np.float32)
    prior = ClampedNormal(loc, log_scale)
    deltas = rng.normal(0, spread, (2, *shape)).astype(np.float32)
    return ResidualNormal(prior, *deltas), prior


def test_raw_zeros_are_nearly_standard():
    prior = ClampedNormal(tf.zeros([3]), tf.zeros([3]))
    np.testing.assert_allclose(prior.mean(), 0.0)
    np.testing.assert_allclose(prior.stddev(), 1.01, rtol=1e-6)
    assert isinstance(prior, tfd.Normal)


def test_kl_worked_by_hand():
    q, p = ClampedNormal(1.0, -1.0), ClampedNormal(0.0, 0.0)
    np.testing.assert_allclose(tfd.kl_divergence(q, p), 1.0195211, rtol=1e-6)
    p = ClampedNormal(0.7, 0.2)
    q = ResidualNormal(p, 0.3, -0.5)
    np.testing.assert_allclose(tfd.kl_divergence(q, p), 0.20834746, rtol=1e-6)


def test_zero_offsets_have_no_divergence():
    rng = np.random.default_rng(1)
    prior = ClampedNormal(*tf.constant(rng.normal(0, 5, (2, 1000)), tf.float32))
    posterior = ResidualNormal(prior, tf.zeros([1000]), tf.zeros([1000]))
    np.testing.assert_array_equal(tfd.kl_divergence(posterior, prior), 0.0)
    np.testing.assert_array_equal(tfd.kl_divergence(prior, prior), 0.0)


def test_residual_and_generic_divergence_agree():
    posterior, prior = random_pair()
    same_law = ClampedNormal(prior.loc_raw + 0.0, prior.log_scale_raw + 0.0)
    generic = tfd.kl_divergence(posterior, same_law)
    plain = tfd.kl_divergence(
        tfd.Normal(posterior.loc, posterior.scale), tfd.Normal(prior.loc, prior.scale)
    )
    residual = tfd.kl_divergence(posterior, prior)
    np.testing.assert_allclose(residual, generic, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(residual, plain, rtol=1e-4, atol=1e-5)
    # Another object around the same tensors is the same prior, and keeps the accurate form.
    again = ClampedNormal(prior.loc_raw, prior.log_scale_raw)
    np.testing.assert_array_equal(tfd.kl_divergence(posterior, again), residual)


def test_divergence_from_a_tempered_prior_is_not_the_residual_one():
    posterior, prior = random_pair()
    cold = prior.copy(temperature=0.7)
    want = gaussian.normal_kl(posterior.loc, posterior.scale, cold.loc, cold.scale)
    np.testing.assert_allclose(tfd.kl_divergence(posterior, cold), want, rtol=1e-6)


def test_divergence_matches_monte_carlo():
    """By sampling: 40,000 draws, five standard errors; false alarm below 1e-4 over 96 elements."""
    posterior, prior = random_pair(spread=0.3)
    z = posterior.sample(40_000, seed=(1, 2))
    terms = (posterior.log_prob(z) - prior.log_prob(z)).numpy().astype(np.float64)
    error = np.abs(terms.mean(0) - tfd.kl_divergence(posterior, prior))
    assert np.all(error < 5 * terms.std(0) / 200 + 1e-5)


@pytest.mark.parametrize(
    ("loc_shape", "scale_shape", "delta_shape", "batch"),
    [
        ((), (), (), ()),
        ((3,), (), (2, 1), (2, 3)),
        ((1, 4, 4, 5), (1, 4, 4, 5), (7, 4, 4, 5), (7, 4, 4, 5)),
        ((2, 1), (1, 3), (1, 1), (2, 3)),
    ],
)
def test_shapes_broadcast(loc_shape, scale_shape, delta_shape, batch):
    prior = ClampedNormal(tf.zeros(loc_shape), tf.zeros(scale_shape))
    posterior = ResidualNormal(prior, tf.ones(delta_shape), tf.zeros(delta_shape))
    assert posterior.event_shape == ()
    assert posterior.batch_shape == batch
    np.testing.assert_array_equal(posterior.batch_shape_tensor(), batch)
    draws = posterior.sample((2, 3), seed=(0, 0))
    assert draws.shape == (2, 3, *batch)
    assert posterior.log_prob(draws).shape == (2, 3, *batch)
    assert tfd.kl_divergence(posterior, prior).shape == batch


def test_temperature_scales_the_floor_too():
    prior = ClampedNormal(tf.zeros([3]), tf.constant([-100.0, 0.0, 100.0]))
    for temperature in (0.7, tf.constant(0.7), tf.constant([0.7, 0.7, 0.7])):
        cold = prior.copy(temperature=temperature)
        np.testing.assert_allclose(cold.scale, 0.7 * prior.scale.numpy(), rtol=1e-6)
    still = prior.copy(temperature=0.0)
    np.testing.assert_array_equal(still.sample(5, seed=(1, 1)), np.zeros((5, 3)))


def test_samples_follow_the_law():  # Kolmogorov-Smirnov, false-alarm rate 0.001, fixed seed
    law = ClampedNormal(0.4, -0.3, temperature=0.8)
    draws = law.sample(20_000, seed=(3, 4)).numpy()
    assert scipy.stats.kstest(draws, "norm", args=(law.loc, law.scale)).pvalue > 0.001


def test_noise_is_mapped_affinely():
    posterior, _ = random_pair()
    noise = tf.random.stateless_normal(posterior.batch_shape, (5, 6))
    got = posterior.sample_from_noise(noise)
    np.testing.assert_allclose(got, posterior.loc + posterior.scale * noise, rtol=1e-6)


def test_half_precision_is_lifted():
    prior = ClampedNormal(tf.zeros([4], tf.bfloat16), tf.zeros([4], tf.float16), 0.5)
    posterior = ResidualNormal(prior, tf.ones([4], tf.float16), tf.ones([4], tf.bfloat16))
    assert posterior.dtype == tf.float32
    assert posterior.sample(seed=(1, 2)).dtype == tf.float32
    assert tfd.kl_divergence(posterior, prior).dtype == tf.float32


def test_float64_stays():
    prior = ClampedNormal(tf.zeros([2], tf.float64), tf.zeros([2], tf.float64), 0.5)
    assert prior.sample(seed=(1, 2)).dtype == tf.float64
    assert prior.log_prob(tf.zeros([2], tf.float64)).dtype == tf.float64


def test_variables_are_trained_through():
    loc, log_scale = tf.Variable([1.0, 2.0]), tf.Variable(0.5)
    law = ClampedNormal(loc, log_scale)
    assert {id(v) for v in law.trainable_variables} == {id(loc), id(log_scale)}
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(law.log_prob([0.3, 0.4]))
    assert all(np.all(g != 0) for g in tape.gradient(value, [loc, log_scale]))
    loc.assign([0.0, 0.0])
    np.testing.assert_array_equal(law.mean(), 0.0)


def test_copies_and_slices_keep_their_meaning():
    posterior, prior = random_pair()
    assert set(posterior.parameters) >= {"prior", "delta_loc", "delta_log_scale"}
    moved = posterior.copy(delta_loc=posterior.delta_loc + 1.0)
    assert np.all(moved.loc > posterior.loc)
    part = posterior[0, ..., 1:]
    assert part.batch_shape == (4, 4, 2)
    np.testing.assert_array_equal(part.loc, posterior.loc[0, ..., 1:])
    np.testing.assert_array_equal(prior[1].scale, prior.scale[1])


def test_crosses_function_boundaries():
    posterior, prior = random_pair()
    want = tfd.kl_divergence(posterior, prior)
    for compiled in (False, True):
        divergence = tf.function(lambda q: tfd.kl_divergence(q, q.prior), jit_compile=compiled)
        np.testing.assert_allclose(divergence(posterior), want, rtol=1e-4, atol=1e-6)
    kept = tf.while_loop(
        lambda i, _: i < 2, lambda i, q: (i + 1, q.copy(delta_loc=q.delta_loc)), (0, posterior)
    )[1]
    np.testing.assert_allclose(kept.loc, posterior.loc)


def test_gradients_reach_prior_and_offsets():
    posterior, prior = random_pair()
    inputs = [prior.loc_raw, prior.log_scale_raw, posterior.delta_loc, posterior.delta_log_scale]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        p = ClampedNormal(*inputs[:2])
        q = ResidualNormal(p, *inputs[2:])
        value = tf.reduce_sum(tfd.kl_divergence(q, p))
    assert all(np.all(np.isfinite(g)) for g in tape.gradient(value, inputs))
