"""Sampling-importance-resampling against exact laws.

Sampling tests allow five standard errors: a correct sampler fails one of them with a probability
below 1e-5 (the seeds are fixed, so it does not fail twice).
"""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.samplers import (
    importance_resampling,
    log_normalizer_bounds,
    num_proposals_for,
    proposal_noise,
    resample_lazily,
)
from tfgen.samplers.importance_resampling import BLOCK

P, R = np.array([0.5, 0.3, 0.2]), np.array([1.0, 2.0, 5.0])
Z = float(P @ R)
TARGET = P * R / Z


def exact_law(num_proposals):
    """P(chosen = s) = E sum_m r_m [z_m = s] / sum_m r_m, over all sequences of proposals."""
    law = np.zeros(3)
    for states in itertools.product(range(3), repeat=num_proposals):
        states = np.array(states)
        weights = R[states] / R[states].sum()
        np.add.at(law, states, P[states].prod() * weights)
    return law


def draw(num_outputs, num_proposals, seed=0):
    rng = np.random.default_rng(seed)
    states = rng.choice(3, (num_outputs, num_proposals), p=P)
    uniforms = rng.random((num_outputs, num_proposals), dtype=np.float32)
    return tf.constant(states), tf.constant(uniforms)


def log_weight(states):
    return tf.gather(tf.constant(np.log(R), tf.float32), states)


@pytest.mark.parametrize(
    ("num_proposals", "law"),
    [
        (1, (0.5, 0.3, 0.2)),
        (2, (0.38333333, 0.32428571, 0.29238095)),
        (3, (0.33531169, 0.32250000, 0.34218831)),
        (5, (0.29478487, 0.31337402, 0.39184111)),
        (10, None),
    ],
)
def test_the_law_of_the_chosen_state(num_proposals, law):
    if law is None:  # too many sequences to enumerate here: worked out beforehand
        law = (0.26499656, 0.30118289, 0.43382055)
    else:
        np.testing.assert_allclose(law, exact_law(num_proposals), atol=1e-8)
    states, uniforms = draw(10**6, num_proposals)
    chosen = importance_resampling(log_weight, states, uniforms).sample.numpy()
    found = np.bincount(chosen, minlength=3) / len(chosen)
    np.testing.assert_allclose(found, law, atol=5 * 0.5e-3)


def test_error_falls_as_one_over_m():
    for count, distance in ((1, 0.27619), (2, 0.18381), (3, 0.13400), (5, 0.08435)):
        assert np.abs(exact_law(count) - TARGET).sum() / 2 == pytest.approx(distance, abs=1e-5)


def test_expected_log_z_is_below_and_rises():
    expected = (0.5298317, 0.6184543, 0.6893930, 0.7156299)
    for count, value in zip((1, 2, 5, 10), expected):
        states, uniforms = draw(200_000, count, seed=count)
        found = importance_resampling(log_weight, states, uniforms).log_mean_weight.numpy()
        error = found.std() / np.sqrt(len(found))
        assert found.mean() == pytest.approx(value, abs=5 * error)
        assert value < np.log(Z) == pytest.approx(0.7419373, abs=1e-7)


def test_sandwich_of_log_z():
    rng = np.random.default_rng(0)
    previous = np.inf
    for count in (1, 2, 10, 100):
        log_r = np.log(R)[rng.choice(3, (count, 100_000), p=P)]
        chosen = np.log(R)[rng.choice(3, 100_000, p=TARGET)]
        lower, upper = log_normalizer_bounds(log_r.astype(np.float32), chosen.astype(np.float32))
        lower, upper = np.mean(lower), np.mean(upper)
        assert lower < np.log(Z) < upper < previous
        previous = upper
        if count == 1:  # E_target log r
            assert upper == pytest.approx(0.9644411, abs=5 * 0.6 / np.sqrt(100_000))
    assert upper - lower < 0.02


def test_bound_on_the_samplers_own_density():
    """At M = 2, by hand: below the exact law."""
    bounds = [np.log(P[s] * R[s]) - P @ np.log((R[s] + R) / 2) for s in range(3)]
    np.testing.assert_allclose(bounds, (-1.0345092, -1.1720549, -1.2470227), atol=1e-6)
    exact = np.log(exact_law(2))
    np.testing.assert_allclose(exact, (-0.9588504, -1.1261303, -1.2296977), atol=1e-6)
    unbiased = [np.log(P[s] * R[s] * (P @ (2 / (R[s] + R)))) for s in range(3)]
    np.testing.assert_allclose(unbiased, exact, atol=1e-12)


@pytest.mark.parametrize("constant", [-80.0, 3.0, 80.0])
def test_a_constant_in_the_log_weight_changes_only_log_z(constant):
    states, uniforms = draw(1000, 7)
    plain = importance_resampling(log_weight, states, uniforms)
    shifted = importance_resampling(lambda s: log_weight(s) + constant, states, uniforms)
    np.testing.assert_array_equal(plain.index, shifted.index)
    np.testing.assert_allclose(
        shifted.log_mean_weight - constant, plain.log_mean_weight, atol=2e-5 * abs(constant)
    )
    np.testing.assert_allclose(
        shifted.effective_sample_size, plain.effective_sample_size, rtol=1e-4
    )


def test_effective_sample_size():
    states, uniforms = draw(100, 20)
    found = importance_resampling(log_weight, states, uniforms).effective_sample_size
    weights = R[states.numpy()]
    np.testing.assert_allclose(found, weights.sum(1) ** 2 / (weights**2).sum(1), rtol=1e-5)


@pytest.mark.parametrize("chunk_size", [1, 3, 4, 7, 10, 100])
def test_chunks_change_nothing(chunk_size):
    rng = np.random.default_rng(1)
    z = tf.constant(rng.standard_normal((50, 10, 2, 3)), tf.float32)
    uniforms = tf.constant(rng.random((50, 10)), tf.float32)

    def score(x):
        return tf.reduce_sum(x, [2, 3])

    whole = importance_resampling(score, z, uniforms)
    parts = importance_resampling(score, z, uniforms, chunk_size)
    np.testing.assert_array_equal(whole.sample, parts.sample)
    np.testing.assert_array_equal(whole.index, parts.index)
    for a, b in zip(whole[2:], parts[2:]):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(whole.sample, tf.gather(z, whole.index, axis=1, batch_dims=1))


def test_nested_proposals():
    states, uniforms = draw(40, 6)
    nested = {"a": states, "b": (tf.cast(states, tf.float32)[..., None] * 2.0,)}
    chosen = importance_resampling(lambda z: log_weight(z["a"]), nested, uniforms, 4).sample
    np.testing.assert_array_equal(tf.cast(chosen["a"], tf.float32) * 2, chosen["b"][0][:, 0])


def test_one_proposal_is_the_proposal():
    states, uniforms = draw(100, 1)
    found = importance_resampling(log_weight, states, uniforms)
    np.testing.assert_array_equal(found.sample, states[:, 0])
    np.testing.assert_allclose(found.log_mean_weight, found.log_weight)


def test_every_output_has_its_own_proposals():
    """Two outputs with one set of weights choose independently: nothing is without replacement."""
    rng = np.random.default_rng(0)
    z = tf.constant(np.tile([[0, 1, 2]], (30_000, 1)))
    uniforms = tf.constant(rng.random((30_000, 3)), tf.float32)
    chosen = importance_resampling(log_weight, z, uniforms).sample.numpy()
    law = R / R.sum()
    error = np.sqrt(law * (1 - law) / len(chosen))
    found = np.bincount(chosen, minlength=3) / len(chosen)
    assert np.all(np.abs(found - law) < 5 * error)


def test_graph_equals_eager_and_traces_once():
    states, uniforms = draw(64, 12)
    traces = []

    @tf.function(autograph=False)
    def run(s, u):
        traces.append(1)
        return importance_resampling(log_weight, s, u, 5)

    eager = importance_resampling(log_weight, states, uniforms, 5)
    for _ in range(3):
        for a, b in zip(run(states, uniforms), eager):
            np.testing.assert_allclose(a, b, rtol=1e-6)
    assert len(traces) == 1


@pytest.mark.parametrize(("first", "count"), [(0, 40), (16, 20), (32, 1)])
def test_noise_depends_on_seed_stream_and_number_alone(first, count):
    seeds = tf.constant([3, 9, 12])
    whole, uniforms = proposal_noise(seeds, 2, (2, 3), 0, 60)
    part, part_uniforms = proposal_noise(seeds[1:], 2, (2, 3), first, count)
    np.testing.assert_array_equal(part, whole[1:, first : first + count])
    np.testing.assert_array_equal(part_uniforms, uniforms[1:, first : first + count])
    other, _ = proposal_noise(seeds, 3, (2, 3), 0, 60)
    assert not np.any(np.isclose(other, whole))


def test_noise_is_standard_normal_and_uniform():
    normals, uniforms = proposal_noise(tf.range(200), 0, (5,), 0, 4 * BLOCK)
    count = np.size(normals)
    assert abs(np.mean(normals)) < 5 / np.sqrt(count)
    assert abs(np.var(normals) - 1) < 5 * np.sqrt(2 / count)
    assert abs(np.mean(uniforms) - 0.5) < 5 * np.sqrt(1 / 12 / np.size(uniforms))
    rows = np.reshape(normals, (-1, 5))  # single float32 numbers do coincide
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_number_of_proposals_from_the_effective_sample_size():
    found = num_proposals_for({"a": 1.0, "b": 0.1, "c": 0.0}, effective=20, largest=500)
    assert found == {"a": 20, "b": 200, "c": 500}


def test_bad_numbers_get_one_sentence():
    states, uniforms = draw(4, 3)
    with pytest.raises(ConfigError, match="expected one known number"):
        importance_resampling(log_weight, states, uniforms[:, :2])
    with pytest.raises(ConfigError, match="num_proposals is 0"):
        resample_lazily(log_weight, lambda first, count: None, 0)
