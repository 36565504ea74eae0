"""The discretised logistic mixture against float64 sums."""

import itertools

import numpy as np
import pytest
import scipy.special
import scipy.stats
import tensorflow as tf

from tfgen.ops import logistic_mixture as lm


def reference_log_prob(params, images, num_bits):
    """Log of the CDF differences in float64, pixel by pixel as the definition says: `[N]`."""
    params, x = np.asarray(params, np.float64), 2 * np.asarray(images, np.float64) - 1
    num_channels, half = x.shape[-1], 1 / (2**num_bits - 1)
    m = params.shape[-1] // lm.num_slots(num_channels)
    slots = params.reshape(len(x), -1, m)
    order = {1: "ms", 3: "msk" * 3}[num_channels]
    means, log_scales, raw = (
        [slots[:, 1 + i] for i, kind in enumerate(order) if kind == wanted] for wanted in "msk"
    )
    total = scipy.special.log_softmax(slots[:, 0], axis=-1)
    pairs = iter(np.tanh(raw)) if raw else iter(())
    for c in range(num_channels):
        mean = means[c] + sum(next(pairs) * x[:, [j]] for j in range(c))
        s = np.exp(np.maximum(log_scales[c], -7))
        value = x[:, [c]]
        # Both tails from their own side: sf differences where the CDF is close to one.
        a, b = (value + half - mean) / s, (value - half - mean) / s
        a, b = np.where(value > 1 - half, np.inf, a), np.where(value < half - 1, -np.inf, b)
        flip = b > 0
        a, b = np.where(flip, -b, a), np.where(flip, -a, b)
        log_a, log_b = scipy.special.log_expit(a), scipy.special.log_expit(b)
        total = total + log_a + np.log1p(-np.exp(log_b - log_a))
    return scipy.special.logsumexp(total, axis=-1)


def one_component(mean, log_scale, num_levels):
    return np.tile([0.0, mean, log_scale], (num_levels, 1)).astype(np.float32)


GREY_CASES = [(0, -3), (0.9, -3), (1, -3), (0.3, 0), (1, -2), (0.99, -7)]


@pytest.mark.parametrize(("mean", "log_scale"), GREY_CASES)
def test_masses_sum_to_one(mean, log_scale):
    levels = (np.arange(256, dtype=np.float32) / 255)[:, None]
    log_p = lm.log_prob(tf.constant(one_component(mean, log_scale, 256)), tf.constant(levels))
    np.testing.assert_allclose(np.exp(log_p.numpy().astype(np.float64)).sum(), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("case", "want"),
    zip(GREY_CASES, [1.0, 1.126774, 1.519681, 1.332682, 1.507244, 1.001272], strict=True),
)
def test_nvae2020_counts_the_top_twice(case, want):
    levels = (np.arange(256) / 255)[:, None]
    params = tf.constant(one_component(*case, 256), tf.float64)
    mass = np.exp(lm.log_prob(params, tf.constant(levels), edge="nvae2020"))
    np.testing.assert_allclose(mass.sum(), want, atol=2e-6)
    top = np.exp(lm.log_prob(params, tf.constant(levels), edge="exact"))[-1]
    np.testing.assert_allclose(mass.sum(), 1 + top * (case[1] != -3 or case[0] > 0), atol=2e-6)


@pytest.mark.parametrize("edge", lm.EDGES)
def test_rgb_sums_to_one_over_all_colours(edge):  # coupling, mixture and both edges at once
    rng = np.random.default_rng(0)
    colours = np.array(list(itertools.product(range(8), repeat=3)), np.float32) / 7
    for _ in range(3):
        params = np.tile(rng.normal(0, 1.5, (1, 100)), (512, 1)).astype(np.float32)
        log_p = lm.log_prob(tf.constant(params), tf.constant(colours), num_bits=3, edge=edge)
        np.testing.assert_allclose(np.exp(log_p).sum(), 1, atol=1e-5)


@pytest.mark.parametrize(("num_channels", "num_bits"), [(1, 5), (2, 3), (4, 2), (5, 1)])
def test_any_number_of_channels_sums_to_one(num_channels, num_bits):
    rng = np.random.default_rng(1)
    top = 2**num_bits - 1
    colours = np.array(list(itertools.product(range(top + 1), repeat=num_channels))) / top
    params = rng.normal(0, 1, (1, 3 * lm.num_slots(num_channels)))
    params = np.tile(params, (len(colours), 1))
    log_p = lm.log_prob(tf.constant(params), tf.constant(colours), num_bits=num_bits)
    np.testing.assert_allclose(np.exp(log_p).sum(), 1, atol=1e-12)


@pytest.mark.parametrize(
    ("edge", "level", "want"),
    [("exact", k, v) for k, v in ((0, -3.931189), (128, -18.703248), (254, -19.413084))]
    + [("exact", 255, -3.931189), ("nvae2020", 254, -3.914024), ("nvae2020", 255, -3.931189)],
)
def test_zero_head(edge, level, want):
    pixel = tf.fill([1, 3], level / 255)
    got = lm.log_prob(tf.zeros([1, 100]), tf.cast(pixel, tf.float32), edge=edge)
    np.testing.assert_allclose(got, [want], rtol=1e-6)


def test_zero_head_in_bits():
    got = lm.log_prob(tf.zeros([1, 30]), tf.fill([1, 1], 128 / 255)) / -np.log(2)
    np.testing.assert_allclose(got, [8.994361], rtol=1e-6)


def test_equal_components_and_permutations():
    rng = np.random.default_rng(2)
    x = tf.constant(rng.integers(0, 256, (20, 3)) / 255, tf.float32)
    single = rng.normal(0, 1, (20, 10, 1)).astype(np.float32)
    repeated = np.tile(single, (1, 1, 10)).reshape(20, 100)
    np.testing.assert_allclose(
        lm.log_prob(tf.constant(repeated), x),
        lm.log_prob(tf.constant(single[..., 0]), x),
        rtol=1e-6,
    )
    mixed = rng.normal(0, 1, (20, 10, 10)).astype(np.float32)
    permuted = mixed[..., rng.permutation(10)]
    np.testing.assert_allclose(
        lm.log_prob(tf.constant(mixed.reshape(20, 100)), x),
        lm.log_prob(tf.constant(permuted.reshape(20, 100)), x),
        rtol=1e-6,
    )


@pytest.mark.parametrize("num_channels", [1, 3])
@pytest.mark.parametrize("log_scale", [-8.0, -4.0, 0.0, 3.0])
def test_float32_matches_float64_reference(num_channels, log_scale):
    rng = np.random.default_rng(3)
    slots = rng.normal(0, 0.5, (300, lm.num_slots(num_channels), 4))
    for c in range(num_channels):
        slots[:, 2 + 3 * c] += log_scale
    params = slots.reshape(300, -1).astype(np.float32)
    images = rng.integers(0, 256, (300, num_channels)).astype(np.float32) / 255
    images[:40] = rng.integers(0, 2, (40, num_channels))
    want = reference_log_prob(params, images, 8)
    got = lm.log_prob(tf.constant(params), tf.constant(images))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4)


def test_fewer_bits_use_the_wider_bin():
    rng = np.random.default_rng(4)
    levels = rng.integers(0, 32, (200, 3))
    params = rng.normal(0, 1, (200, 100))
    want = reference_log_prob(params, levels / 31, 5)
    got = lm.log_prob(tf.constant(params), tf.constant(levels / 31), num_bits=5)
    np.testing.assert_allclose(got, want, rtol=1e-9)


def test_nvae2020_differs_only_at_level_254_and_in_tails():
    """With broad components the two rules agree everywhere but one level below the top."""
    rng = np.random.default_rng(5)
    levels = np.repeat(np.arange(256)[:, None], 3, axis=1)
    params = tf.constant(rng.normal(0, 0.3, (256, 100)))
    exact, legacy = (
        lm.log_prob(params, tf.constant(levels / 255), edge=edge).numpy() for edge in lm.EDGES
    )
    np.testing.assert_allclose(np.delete(legacy, 254), np.delete(exact, 254), atol=1e-3)
    assert legacy[254] > exact[254] + 5


@pytest.mark.parametrize("edge", lm.EDGES)
def test_gradient_matches_finite_differences(edge):
    rng = np.random.default_rng(6)
    images = tf.constant(np.array([[0, 1, 0.2], [1, 0, 0.6], [0.4, 0.8, 1]]))
    params = tf.constant(rng.normal(0, 1, (3, 20)))
    theoretical, numerical = tf.test.compute_gradient(
        lambda p: lm.log_prob(p, images, num_bits=4, edge=edge), [params], delta=1e-5
    )
    np.testing.assert_allclose(theoretical[0], numerical[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("edge", lm.EDGES)
def test_gradients_stay_finite(edge):
    rng = np.random.default_rng(7)
    images = rng.integers(0, 256, (500, 3)).astype(np.float32) / 255
    images[:100] = rng.integers(0, 2, (100, 3))
    for spread in (0.0, 1.0, 10.0, 60.0):
        params = tf.constant(rng.normal(0, spread, (500, 100)), tf.float32)
        with tf.GradientTape() as tape:
            tape.watch(params)
            log_p = lm.log_prob(params, tf.constant(images), edge=edge)
        assert np.all(np.isfinite(log_p))
        assert np.all(np.isfinite(tape.gradient(log_p, params)))


def test_mean_of_one_component_follows_the_coupling():
    params = np.zeros((1, 10), np.float32)  # logit, then per colour [mean, log-scale, coefficient]
    params[0, [1, 4, 7]] = [0.5, 0.1, -2.0]
    params[0, [3, 6, 9]] = np.arctanh([0.4, 0.3, -0.2])
    green = 0.1 + 0.4 * 0.5
    blue = np.clip(-2.0 + 0.3 * 0.5 - 0.2 * green, -1, 1)
    got = lm.mean(tf.constant(params), 3)
    np.testing.assert_allclose(got, [[0.75, 0.5 + green / 2, 0.5 + blue / 2]], rtol=1e-6)


def test_temperature_zero_is_the_likeliest_component():
    rng = np.random.default_rng(8)
    params = rng.normal(0, 0.3, (50, 10, 10)).astype(np.float32)
    noise = [tf.constant(rng.uniform(size=(50, n)), tf.float32) for n in (10, 3)]
    got = lm.sample_from_noise(tf.constant(params.reshape(50, 100)), *noise, temperature=0.0)
    best = params[:, 0].argmax(-1)
    alone = params[np.arange(50), :, best]
    np.testing.assert_allclose(got, lm.mean(tf.constant(alone), 3), atol=1e-6)


def test_temperature_scales_the_spread():
    """Colder must be quieter."""
    rng = np.random.default_rng(9)
    params = tf.zeros([20_000, 3]) + tf.constant([0.0, 0.0, -4.0])
    noise = [tf.constant(rng.uniform(size=(20_000, 1)), tf.float32) for _ in range(2)]
    spread = [np.std(lm.sample_from_noise(params, *noise, temperature=t)) for t in (1.0, 0.5, 0.25)]
    np.testing.assert_allclose(spread / spread[0], [1, 0.5, 0.25], rtol=1e-3)


def test_samples_follow_the_masses():  # false-alarm rate 0.001, seed fixed
    rng = np.random.default_rng(10)
    head = rng.normal(0, 1, 9).astype(np.float32)
    head[6:] -= 2.5
    n = 200_000
    params = tf.constant(np.tile(head, (n, 1)))
    noise = [tf.constant(rng.uniform(size=(n, size)), tf.float32) for size in (3, 1)]
    levels = np.rint(lm.sample_from_noise(params, *noise, num_bits=8).numpy() * 255).astype(int)
    counts = np.bincount(levels[:, 0], minlength=256)
    grid = tf.constant(np.arange(256)[:, None] / 255)
    log_p = lm.log_prob(tf.constant(np.tile(head, (256, 1)), tf.float64), grid)
    assert_counts_follow(counts, np.exp(log_p) * n)


def test_rgb_samples_follow_the_joint_masses():  # with the coupling; false-alarm rate 0.001
    rng = np.random.default_rng(11)
    n, top = 100_000, 3
    head = rng.normal(0, 1, 40).astype(np.float32)
    params = tf.constant(np.tile(head, (n, 1)))
    noise = [tf.constant(rng.uniform(size=(n, size)), tf.float32) for size in (4, 3)]
    levels = np.rint(lm.sample_from_noise(params, *noise, num_bits=2).numpy() * top).astype(int)
    counts = np.bincount(levels @ [16, 4, 1], minlength=64)
    colours = np.array(list(itertools.product(range(4), repeat=3))) / top
    log_p = lm.log_prob(
        tf.constant(np.tile(head, (64, 1)), tf.float64), tf.constant(colours), num_bits=2
    )
    assert_counts_follow(counts, np.exp(log_p) * n)


def assert_counts_follow(counts, expected):
    """Chi-squared with bins of fewer than five expected draws pooled."""
    rare = expected < 5
    counts = np.append(counts[~rare], counts[rare].sum())
    expected = np.append(expected[~rare], max(expected[rare].sum(), 1e-9))
    statistic = ((counts - expected) ** 2 / expected)[expected > 1].sum()
    assert scipy.stats.chi2.sf(statistic, (expected > 1).sum() - 1) > 0.001


def test_graph_and_xla_agree():
    rng = np.random.default_rng(12)
    params = tf.constant(rng.normal(0, 1, (2, 4, 4, 100)), tf.float32)
    images = tf.constant(rng.integers(0, 256, (2, 4, 4, 3)) / 255, tf.float32)
    eager = lm.log_prob(params, images)
    for compiled in (False, True):
        got = tf.function(lm.log_prob, jit_compile=compiled)(params, images)
        np.testing.assert_allclose(got, eager, rtol=2e-5)
