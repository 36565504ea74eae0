"""Contrastive losses against the closed forms of two Normals, N(1, 1/2) and N(0, 1)."""

import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import tensorflow as tf

from tfgen.ops import contrastive

Q, P = scipy.stats.norm(1.0, 0.5), scipy.stats.norm(0.0, 1.0)


def log_r(z):
    return np.log(2.0) - 2.0 * (z - 1) ** 2 + z**2 / 2


def expectation(law, function):
    return scipy.integrate.quad(lambda z: law.pdf(z) * function(z), -9, 9, limit=200)[0]


def as32(*values):
    return [np.asarray(v, np.float32) for v in values]


def test_log_ratio_values():
    np.testing.assert_allclose(log_r(np.arange(3)), (-1.3068528, 1.1931472, 0.6931472), atol=1e-7)
    assert expectation(P, lambda z: np.exp(log_r(z))) == pytest.approx(1.0)
    assert expectation(Q, log_r) == pytest.approx(0.8181472, abs=1e-7)


def test_losses_at_the_optimum():
    """The mean over both classes is log 2 - JSD; the grid is the quantiles of both laws."""
    levels = (np.arange(20_000) + 0.5) / 20_000
    positive, negative = as32(log_r(Q.ppf(levels)), log_r(P.ppf(levels)))
    loss = contrastive.balanced_cross_entropy(positive, negative[:, None]).numpy().mean()
    assert loss == pytest.approx(0.4691634, abs=2e-4)
    assert contrastive.jensen_shannon(loss) == pytest.approx(0.2239838, abs=2e-4)
    accuracy = contrastive.accuracy(positive, negative[:, None]).numpy().mean()
    assert accuracy == pytest.approx(0.7733059, abs=2e-4)


@pytest.mark.parametrize("nu", [1, 4])
def test_the_ratio_is_the_optimum_whatever_the_number_of_negatives(nu):
    """Any shift of log r, or leaving out log nu, costs."""

    def loss(shift):
        def softplus(x):
            return np.logaddexp(0.0, x)

        def value(offset):
            a = expectation(Q, lambda z: softplus(-(log_r(z) + offset)))
            return a + nu * expectation(P, lambda z: softplus(log_r(z) + offset))

        return value(shift - np.log(nu)) / (1 + nu)

    best = loss(0.0)
    assert all(loss(shift) > best + 1e-5 for shift in (-0.1, 0.1))
    if nu > 1:
        assert loss(np.log(nu)) > best + 0.01
    rng = np.random.default_rng(0)
    positive, negative = as32(rng.standard_normal(3), rng.standard_normal((3, nu)))
    want = np.logaddexp(0, np.log(nu) - positive) + np.logaddexp(0, negative - np.log(nu)).sum(1)
    found = contrastive.binary_cross_entropy(positive, negative)
    np.testing.assert_allclose(found, want / (1 + nu), rtol=1e-5)


def test_safe_for_any_logit():
    positive, negative = as32([1e4, -1e4], [[1e4], [-1e4]])
    for function in (
        contrastive.binary_cross_entropy,
        contrastive.balanced_cross_entropy,
        contrastive.resampling_gain,
    ):
        assert np.all(np.isfinite(function(positive, negative)))


def test_resampling_gain():
    rng = np.random.default_rng(0)
    positive, negative = rng.standard_normal(5), rng.standard_normal((5, 7))
    want = positive - np.log((np.exp(positive) + np.exp(negative).sum(1)) / 8)
    found = contrastive.resampling_gain(*as32(positive, negative))
    np.testing.assert_allclose(found, want, atol=1e-6)
    shifted = contrastive.resampling_gain(*as32(positive + 30, negative + 30))
    np.testing.assert_allclose(shifted, found, atol=1e-5)


def test_accuracy_of_what_cannot_be_told_apart_is_that_of_a_guess():
    positive, negative = tf.constant([0.0, 1.0, -1.0]), tf.constant([[0.0, 0.0], [0, -2], [1, -1]])
    np.testing.assert_allclose(contrastive.accuracy(positive, negative), [0.5, 0.875, 0.25])
