"""Clamped Normals against float64 closed forms."""

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfgen.ops import gaussian, pointwise, precision


@pytest.fixture(params=[True, False], ids=["cluster", "library"], autouse=True)
def form(request, monkeypatch):
    monkeypatch.setattr(pointwise, "pays", lambda x: request.param)


def clamp64(a):
    return 5.0 * np.tanh(np.asarray(a, np.float64) / 5.0)


def scale64(a):
    return np.exp(clamp64(a)) + 0.01


def residual_kl(loc, log_scale, delta_loc, delta_log_scale):
    """From raw parameters of the prior and the offsets."""
    clamp = gaussian.soft_clamp
    return gaussian.residual_normal_kl(
        clamp(loc + delta_loc),
        clamp(log_scale + delta_log_scale),
        clamp(loc),
        clamp(log_scale),
        delta_loc,
        delta_log_scale,
    )


def kl64(mean_q, scale_q, mean_p, scale_p):
    ratio = scale_q / scale_p
    return 0.5 * (((mean_q - mean_p) / scale_p) ** 2 + ratio**2) - 0.5 - np.log(ratio)


def test_soft_clamp_values():
    got = gaussian.soft_clamp(tf.constant([0.0, 1.0, 2.0, 5.0, 10.0, 100.0]))
    want = [0.0, 0.9868766, 1.8997448, 3.8079708, 4.8201379, 5.0]
    np.testing.assert_allclose(got, want, atol=1e-6)


def test_scale_values():
    got = gaussian.scale_from_raw(tf.constant([-100.0, -5.0, -1.0, 0.0, 1.0, 5.0, 100.0]))
    want = [0.0167379, 0.0321932, 0.3827391, 1.01, 2.6928418, 45.0689, 148.42316]
    np.testing.assert_allclose(got, want, rtol=5e-6)  # the digits printed


def test_kl_with_and_without_clamps():
    clamped = gaussian.normal_kl(
        gaussian.soft_clamp(tf.constant(1.0)),
        gaussian.scale_from_raw(tf.constant(-1.0)),
        gaussian.soft_clamp(tf.constant(0.0)),
        gaussian.scale_from_raw(tf.constant(0.0)),
    )
    plain = gaussian.normal_kl(
        tf.constant(1.0), tf.exp(tf.constant(-1.0)), tf.constant(0.0), tf.constant(1.0)
    )
    np.testing.assert_allclose(clamped, 1.0195211, rtol=1e-6)
    np.testing.assert_allclose(plain, 1.0676676, rtol=1e-6)


def test_residual_identity():
    loc, log_scale, delta_loc, delta_log_scale = 0.7, 0.2, 0.3, -0.5
    generic = gaussian.normal_kl(
        tf.constant(loc + delta_loc),
        tf.exp(tf.constant(log_scale + delta_log_scale)),
        tf.constant(loc),
        tf.exp(tf.constant(log_scale)),
    )
    ratio = np.exp(2 * delta_log_scale)
    closed = 0.5 * (delta_loc**2 / np.exp(2 * log_scale) + ratio - 2 * delta_log_scale - 1)
    residual = residual_kl(*(tf.constant(v) for v in (loc, log_scale, delta_loc, delta_log_scale)))
    np.testing.assert_allclose(generic, 0.21410412, rtol=1e-6)
    np.testing.assert_allclose(closed, 0.21410412, rtol=1e-7)
    np.testing.assert_allclose(residual, 0.20834746, rtol=1e-6)


def test_kl_of_equals_is_zero():
    rng = np.random.default_rng(0)
    raw = tf.constant(rng.normal(0, 4, (2, 1000)), tf.float32)
    loc, scale = gaussian.soft_clamp(raw[0]), gaussian.scale_from_raw(raw[1])
    zeros = tf.zeros_like(loc)
    np.testing.assert_array_equal(gaussian.normal_kl(loc, scale, loc, scale), 0.0)
    np.testing.assert_array_equal(residual_kl(raw[0], raw[1], zeros, zeros), 0.0)


@pytest.mark.parametrize("spread", [1e-3, 0.1, 1.0, 4.0])
def test_residual_kl_matches_float64(spread):
    rng = np.random.default_rng(1)
    raw = rng.normal(0, 2, (2, 2000)).astype(np.float32)
    delta = rng.normal(0, spread, (2, 2000)).astype(np.float32)
    p, d = raw.astype(np.float64), delta.astype(np.float64)
    want = kl64(clamp64(p[0] + d[0]), scale64(p[1] + d[1]), clamp64(p[0]), scale64(p[1]))
    got = residual_kl(*map(tf.constant, (*raw, *delta)))
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-7 * max(spread, 1e-2))
    assert np.min(got) >= -1e-9


def test_generic_kl_matches_float64():
    rng = np.random.default_rng(7)
    means = rng.normal(0, 3, (2, 2000)).astype(np.float32)
    scales = np.exp(rng.normal(0, 3, (2, 2000))).astype(np.float32)
    arguments = means[0], scales[0], means[1], scales[1]
    want = kl64(*(a.astype(np.float64) for a in arguments))
    np.testing.assert_allclose(gaussian.normal_kl(*map(tf.constant, arguments)), want, rtol=1e-5)


def test_residual_kl_keeps_digits_of_small_offsets():
    """At offsets of 1e-4 the generic form has no digits left in float32; the residual one has."""
    rng = np.random.default_rng(2)
    raw = rng.normal(0, 2, (2, 2000)).astype(np.float32)
    delta = np.stack([np.full(2000, 1e-4), np.zeros(2000)]).astype(np.float32)
    p, d = raw.astype(np.float64), delta.astype(np.float64)
    want = kl64(clamp64(p[0] + d[0]), scale64(p[1] + d[1]), clamp64(p[0]), scale64(p[1]))
    got = residual_kl(*map(tf.constant, (*raw, *delta)))
    np.testing.assert_allclose(got, want, rtol=5e-4)


def test_gradients_match_finite_differences():
    rng = np.random.default_rng(3)
    arguments = [tf.constant(rng.normal(0, 2, 50), tf.float64) for _ in range(4)]
    theoretical, numerical = tf.test.compute_gradient(residual_kl, arguments, delta=1e-5)
    for got, want in zip(theoretical, numerical, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_extreme_inputs_have_finite_gradients():
    values = np.array([-1e4, -100.0, -5.0, 0.0, 5.0, 100.0, 1e4], np.float32)
    grid = [tf.constant(g.ravel()) for g in np.meshgrid(values, values, values, values)]
    with tf.GradientTape() as tape:
        tape.watch(grid)
        kl = residual_kl(*grid)
    assert np.all(np.isfinite(kl))
    assert all(np.all(np.isfinite(g)) for g in tape.gradient(kl, grid))


def test_log_prob_matches_scipy():
    rng = np.random.default_rng(4)
    x, mean = rng.normal(0, 3, (2, 5, 7)).astype(np.float32)
    scale = np.exp(rng.normal(0, 1, (7,))).astype(np.float32)
    want = scipy.stats.norm.logpdf(*(a.astype(np.float64) for a in (x, mean, scale)))
    got = gaussian.log_prob(tf.constant(x), tf.constant(mean), tf.constant(scale))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def test_kl_matches_monte_carlo():
    """Mean of log q - log p over 40,000 draws; false alarm below 1e-6 (five standard errors)."""
    rng = np.random.default_rng(5)
    q, p = (0.4, 0.6), (-0.3, 1.1)
    z = rng.normal(*q, 40_000)
    terms = scipy.stats.norm.logpdf(z, *q) - scipy.stats.norm.logpdf(z, *p)
    want = gaussian.normal_kl(*(tf.constant(v, tf.float64) for v in (*q, *p)))
    assert abs(terms.mean() - want) < 5 * terms.std() / np.sqrt(len(terms))


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16, tf.int32])
def test_at_least_float32_lifts(dtype):
    assert precision.at_least_float32(tf.ones([2], dtype)).dtype == tf.float32


@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_at_least_float32_keeps(dtype):
    assert precision.at_least_float32(tf.ones([2], dtype)).dtype == dtype
