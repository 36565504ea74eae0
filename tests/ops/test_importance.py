"""Importance weighting against closed forms."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from tfgen.ops import importance

LOG_EVIDENCE = -1.5155121  # z ~ N(0, 1), x | z ~ N(z, 1), x = 1


def log_weights(q_mean, q_variance, shape, seed=0):
    rng = np.random.default_rng(seed)
    eps = rng.standard_normal(shape)
    z = q_mean + np.sqrt(q_variance) * eps
    log_p = -0.5 * (z**2 + (1 - z) ** 2) - np.log(2 * np.pi)
    return log_p + 0.5 * eps**2 + 0.5 * np.log(2 * np.pi * q_variance)


def test_exact_posterior_has_no_variance():
    weights = tf.constant(log_weights(0.5, 0.5, (7, 100)))
    np.testing.assert_allclose(importance.iw_bound(weights), LOG_EVIDENCE, atol=1e-7)
    np.testing.assert_allclose(importance.effective_sample_size(weights), 7, rtol=1e-9)


def test_bounds_of_the_prior_as_proposal():  # to five standard errors
    wants = [-1.9189385, -1.6534738, -1.55737, -1.53509, -1.51715, -1.51594]
    means = []
    for num_samples, want in zip([1, 2, 5, 10, 100, 1000], wants, strict=True):
        repeats = min(200_000, 4_000_000 // num_samples)
        weights = log_weights(0.0, 1.0, (num_samples, repeats))
        bounds = importance.iw_bound(tf.constant(weights, tf.float32)).numpy()
        standard_error = bounds.std() / np.sqrt(repeats)
        assert abs(bounds.mean() - want) < 4e-4 + 5 * standard_error
        means.append(bounds.mean())
    assert np.all(np.diff(means) > 0)
    assert means[-1] < LOG_EVIDENCE + 4e-4


@pytest.mark.parametrize("sizes", [[12], [1] * 12, [5, 1, 6]])
@pytest.mark.parametrize("offset", [0.0, -2e4])
def test_streaming_equals_one_shot(sizes, offset):
    rng = np.random.default_rng(1)
    weights = rng.normal(offset, 30, (12, 40))
    state = importance.init(40)
    start = 0
    for size in sizes:
        state = importance.update(state, tf.constant(weights[start : start + size]))
        start += size
    want = scipy.special.logsumexp(weights, axis=0) - np.log(12)
    np.testing.assert_allclose(importance.bound(state), want, rtol=1e-12)
    np.testing.assert_allclose(importance.elbo(state), weights.mean(0), rtol=1e-12)
    np.testing.assert_allclose(importance.iw_bound(tf.constant(weights)), want, rtol=1e-12)
    np.testing.assert_allclose(
        importance.sample_size(state),
        importance.effective_sample_size(tf.constant(weights)),
        rtol=1e-9,
    )


def test_streaming_inside_a_compiled_loop():
    weights = tf.constant(np.random.default_rng(2).normal(-80, 5, (20, 2, 6)), tf.float32)

    @tf.function(input_signature=[tf.TensorSpec([None, None, None])])
    def stream(chunks):
        state = importance.init(tf.shape(chunks)[2])
        for chunk in chunks:
            state = importance.update(state, chunk)
        return importance.bound(state)

    want = importance.iw_bound(tf.reshape(weights, [40, 6]))
    np.testing.assert_allclose(stream(weights), want, rtol=1e-5)


def test_zero_weights():
    """Samples of zero probability count in K, and an image with no other has bound -inf."""
    minus = -np.inf
    state = importance.init(2)
    for chunk in ([[minus, minus]], [[0.0, minus]], [[minus, minus], [0.0, minus]]):
        state = importance.update(state, tf.constant(chunk, tf.float64))
    np.testing.assert_allclose(importance.bound(state), [np.log(0.5), minus])


def test_gradient_of_the_bound_is_the_normalised_weights():
    weights = tf.constant(np.random.default_rng(3).normal(0, 2, (9, 4)))
    with tf.GradientTape() as tape:
        tape.watch(weights)
        value = importance.bound(importance.update(importance.init(4), weights))
    np.testing.assert_allclose(
        tape.gradient(value, weights), scipy.special.softmax(weights.numpy(), axis=0), rtol=1e-9
    )
