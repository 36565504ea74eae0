"""Largest singular values by power iteration, against the singular value decomposition."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.ops.spectral import largest_singular_value, power_iteration

RNG = np.random.default_rng(0)


def start(n, rows, columns, seed=1):
    rng = np.random.default_rng(seed)
    vectors = [rng.standard_normal((n, size)) for size in (rows, columns)]
    return [tf.constant(v / np.linalg.norm(v, axis=1, keepdims=True), tf.float32) for v in vectors]


def estimate(matrices, num_iterations, vectors=None):
    matrices = tf.constant(matrices, tf.float32)
    left, right = vectors or start(*matrices.shape)
    left, right = power_iteration(matrices, left, right, num_iterations)
    return largest_singular_value(matrices, left, right).numpy(), (left, right)


def exact(matrices):
    return np.linalg.svd(matrices, compute_uv=False)[:, 0]


@pytest.mark.parametrize("shape", [(5, 9, 4), (3, 16, 48), (2, 300, 256)])
def test_below_and_near_the_exact_value(shape):
    # The last shape is large enough to be iterated one matrix after the other.
    matrices = RNG.standard_normal(shape)
    values, _ = estimate(matrices, 40)
    sigma = exact(matrices)
    assert np.all(values <= sigma * (1 + 1e-5))
    assert values.sum() >= 0.98 * sigma.sum()


def test_more_iterations_never_lower_the_estimate():
    matrices = RNG.standard_normal((4, 20, 30))
    values, vectors = [], None
    for _ in range(12):
        value, vectors = estimate(matrices, 1, vectors)
        values.append(value)
    assert np.all(np.diff(values, axis=0) >= -1e-5)


def test_a_gap_makes_it_accurate():
    # With sigma_1 / sigma_2 = 1.5 the error falls by 1.5**4 per iteration.
    left = np.linalg.qr(RNG.standard_normal((3, 12, 12)))[0]
    right = np.linalg.qr(RNG.standard_normal((3, 8, 8)))[0]
    sigma = np.array([3.0, 2.0, 1.9, 1.0, 0.5, 0.2, 0.1, 0.0])
    matrices = left[:, :, :8] * sigma @ right.transpose(0, 2, 1)
    np.testing.assert_allclose(estimate(matrices, 40)[0], 3.0, atol=1e-4)


def test_diagonal():
    values, (left, right) = estimate(np.diag([3.0, 2.0, 1.0])[None], 40)
    np.testing.assert_allclose(values, 3.0, atol=1e-5)
    for vector in (left, right):
        np.testing.assert_allclose(np.abs(vector), [[1, 0, 0]], atol=1e-5)


def test_rank_one_takes_one_iteration():
    u, v = RNG.standard_normal((4, 7)), RNG.standard_normal((4, 5))
    values, _ = estimate(u[:, :, None] * v[:, None, :], 1)
    np.testing.assert_allclose(
        values, np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1), rtol=1e-5
    )


def test_vectors_have_norm_one():
    _, vectors = estimate(RNG.standard_normal((3, 6, 11)), 2)
    for vector in vectors:
        np.testing.assert_allclose(np.linalg.norm(vector, axis=1), 1.0, atol=1e-5)


def test_zero_matrix_is_harmless():
    values, vectors = estimate(np.zeros((2, 4, 5)), 4)
    np.testing.assert_array_equal(values, 0.0)
    assert all(np.all(np.isfinite(v)) for v in vectors)


def test_gradient_is_the_outer_product():
    matrices = RNG.standard_normal((2, 4, 3))
    left, right = estimate(matrices, 200)[1]
    w = tf.constant(matrices, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch([w, left, right])
        total = tf.reduce_sum(largest_singular_value(w, left, right))
    dw, dleft, dright = tape.gradient(total, [w, left, right])
    assert dleft is None
    assert dright is None
    np.testing.assert_allclose(dw, left[:, :, None] * right[:, None, :], atol=1e-6)
    # By the envelope theorem this is also the derivative of the true norm.
    step = 1e-5
    for index in np.ndindex(*matrices.shape):
        bump = np.zeros(matrices.shape)
        bump[index] = step
        slope = (exact(matrices + bump) - exact(matrices - bump)).sum() / (2 * step)
        np.testing.assert_allclose(dw[index], slope, atol=1e-4)


def test_no_gradient_through_the_iteration():
    w = tf.constant(RNG.standard_normal((2, 4, 3)), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(w)
        left, right = power_iteration(w, *start(2, 4, 3), 3)
        total = tf.reduce_sum(left) + tf.reduce_sum(right)
    assert tape.gradient(total, w) is None
