"""Defences by their definitions, and what differential privacy promises of them."""

import keras
import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import tensorflow as tf
from tiny import distinct_batch, relu_net, smooth_batch_norm_net

from tfgen.errors import ConfigError, UserError
from tfgen.privacy import AttackSettings, SharedNetwork
from tfgen.privacy.defence import (
    DEFENCES,
    DPSGD,
    Aggregation,
    GaussianNoise,
    GradientClipping,
    NoDefence,
    Quantization,
    SignCompression,
    TopKPruning,
    defence_from_config,
)
from tfgen.privacy.defence.accounting import gaussian_epsilon, training_epsilon

RNG = np.random.default_rng(0)
GRADIENTS = [tf.constant(RNG.standard_normal(s), tf.float32) for s in [(20, 30), (7,)]]


def flat(tensors):
    return np.concatenate([np.ravel(t) for t in tensors]).astype(np.float64)


@pytest.mark.parametrize("name", DEFENCES)
def test_configurations_round_trip(name):
    defence = DEFENCES[name]()
    assert defence_from_config(defence.get_config()) == defence
    assert defence.describe().startswith(name)


@pytest.mark.parametrize("name", [n for n in DEFENCES if n != "dp_sgd"])
def test_transforms_keep_shapes_and_repeat(name):
    defence = DEFENCES[name]()
    first, again, other = (defence.transform(GRADIENTS, seed) for seed in (1, 1, 2))
    assert [t.shape for t in first] == [t.shape for t in GRADIENTS]
    np.testing.assert_array_equal(flat(first), flat(again))
    assert (name in ("noise", "quantization")) == bool(np.any(flat(first) != flat(other)))


def test_noise_is_relative_to_the_root_mean_square():
    gradients = [3.0 * tf.ones([100_000]), -3.0 * tf.ones([7])]
    noise = flat(GaussianNoise(0.5).transform(gradients, 1)) - flat(gradients)
    # 1e5 draws: the standard deviation is known to 0.22 %; 1 % is beyond four and a half of them.
    np.testing.assert_allclose(noise.std(), 1.5, rtol=0.01)


def test_clipping_is_a_factor():
    clipped = GradientClipping(0.1).transform(GRADIENTS)
    np.testing.assert_allclose(np.linalg.norm(flat(clipped)), 0.1, rtol=1e-5)
    ratio = flat(clipped) / flat(GRADIENTS)
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-4)
    np.testing.assert_array_equal(flat(GradientClipping(1e3).transform(GRADIENTS)), flat(GRADIENTS))
    assert GradientClipping().adapt(AttackSettings()).fit_scale


def test_pruning_keeps_the_largest():
    kept = TopKPruning(0.1).transform(GRADIENTS)
    for before, after in zip(GRADIENTS, kept):
        count = max(1, round(0.1 * before.shape.num_elements()))
        after, before = np.ravel(after), np.ravel(before)
        assert np.count_nonzero(after) == count
        assert np.abs(after[after != 0]).min() >= np.sort(np.abs(before))[-count]
        np.testing.assert_array_equal(after[after != 0], before[after != 0])
    masks = TopKPruning(0.1).masks(kept)
    np.testing.assert_array_equal(flat(masks), flat(kept) != 0)


def test_sign_keeps_signs_and_one_number():
    released = SignCompression().transform(GRADIENTS)
    for before, after in zip(GRADIENTS, released):
        np.testing.assert_allclose(np.abs(after), np.mean(np.abs(before)), rtol=1e-6)
        np.testing.assert_array_equal(np.sign(before), np.sign(after))
    assert SignCompression().adapt(AttackSettings()).gradient_form == "cosine"
    control = SignCompression().adapt(AttackSettings(gradient_weight=0.0))
    assert control.gradient_weight == 0.0


def test_quantisation_is_unbiased_and_on_its_levels():
    defence = Quantization(4)
    value = np.float32([1.0, 0.3, -0.61, 0.0])
    draws = defence.transform([tf.constant(np.tile(value, (4000, 1)))], 1)[0].numpy()
    np.testing.assert_allclose(draws * 7, np.round(draws * 7), atol=1e-4)
    # Steps of 1/7, standard deviation at most 1/14; the mean of 4000 is known to 0.0012.
    np.testing.assert_allclose(draws.mean(axis=0), value, atol=0.006)
    np.testing.assert_array_equal(defence.transform([tf.zeros([3])], 0)[0], 0)


def test_aggregation_is_a_larger_batch():
    assert Aggregation(4).batch_factor == 4
    assert NoDefence().batch_factor == 1


class TestDPSGD:
    def test_noise_of_the_released_mean(self):
        # C = 1, sigma = 2, K = 8, zero gradients: 2 / 8. 1e5 numbers, 1 % is 4.5 standard errors.
        inputs = keras.Input((1, 1, 1))
        x = keras.layers.Dense(50_000, kernel_initializer="zeros")(keras.layers.Flatten()(inputs))
        outputs = keras.layers.Dense(2, kernel_initializer="zeros")(x)
        network = SharedNetwork(keras.Model(inputs, outputs), lambda y, x: 0.0 * x[:, 0])
        released = DPSGD(1.0, 2.0).release(network, np.zeros((8, 1, 1, 1)), np.zeros(8, int), 3)
        np.testing.assert_allclose(flat(released).std(), 0.25, rtol=0.01)

    def test_sensitivity(self):
        images, labels = distinct_batch(4)
        network = SharedNetwork(relu_net())
        defence = DPSGD(0.5, 0.0)
        whole = 4 * flat(defence.release(network, images, labels))
        for k in range(4):
            rest = np.delete(np.arange(4), k)
            part = 3 * flat(defence.release(network, images[rest], labels[rest]))
            change = np.linalg.norm(whole - part)
            assert change <= 0.5 * (1 + 1e-4)
            np.testing.assert_allclose(change, 0.5, rtol=1e-3)  # all are longer than the bound

    def test_no_clipping_no_noise_is_the_gradient(self):
        images, labels = distinct_batch(3)
        network = SharedNetwork(smooth_batch_norm_net())
        released = DPSGD(1e6, 0.0).release(network, images, labels)
        np.testing.assert_allclose(
            flat(released), flat(network.gradients(images, labels)), rtol=1e-3, atol=1e-6
        )

    def test_batch_statistics_are_refused(self):
        network = SharedNetwork(smooth_batch_norm_net(), batch_norm_mode="train")
        with pytest.raises(UserError, match="batch norm in train mode"):
            DPSGD().release(network, *distinct_batch(2))


class TestEpsilon:
    @pytest.mark.parametrize(
        ("sigma", "epsilon"), [(0.5, 9.997), (1, 4.377), (2, 1.993), (4, 0.926), (8, 0.434)]
    )
    def test_one_release(self, sigma, epsilon):
        np.testing.assert_allclose(gaussian_epsilon(sigma), epsilon, atol=6e-4)
        assert DPSGD(3.0, sigma).epsilon() == gaussian_epsilon(sigma)

    @pytest.mark.parametrize("sigma", [0.3, 1.0, 5.0])
    def test_is_where_the_hockey_stick_divergence_is_delta(self, sigma):
        epsilon, p, q = gaussian_epsilon(sigma, 1e-3), *map(scipy.stats.norm, (1, 0), (sigma,) * 2)

        def excess(x):
            return max(p.pdf(x) - np.exp(epsilon) * q.pdf(x), 0.0)

        start = 0.5 + epsilon * sigma**2  # where the likelihood ratio is exp(epsilon)
        found = scipy.integrate.quad(excess, start, start + 20 * sigma, epsabs=1e-12)[0]
        np.testing.assert_allclose(found, 1e-3, rtol=1e-5)

    def test_ends(self):
        assert gaussian_epsilon(0.0) == np.inf
        assert gaussian_epsilon(1e6) == 0.0
        assert gaussian_epsilon(0.01) > 1000
        assert NoDefence().epsilon() is None
        assert GaussianNoise().epsilon() is None

    @pytest.mark.parametrize(
        ("sigma", "renyi", "losses"),
        [(0.5, 15.47, 13.36), (1, 2.101, 1.828), (4, 0.301, 0.272)],
    )
    def test_a_whole_training(self, sigma, renyi, losses):
        pytest.importorskip("dp_accounting", reason="needs the extra 'privacy'")
        np.testing.assert_allclose(
            training_epsilon(sigma, 0.01, 1000, accountant="rdp"), renyi, rtol=2e-3
        )
        np.testing.assert_allclose(training_epsilon(sigma, 0.01, 1000), losses, rtol=2e-3)

    def test_one_unsampled_step_is_one_release(self):
        pytest.importorskip("dp_accounting", reason="needs the extra 'privacy'")
        np.testing.assert_allclose(training_epsilon(2.0, 1.0, 1), gaussian_epsilon(2.0), rtol=1e-3)


class TestMistakes:
    @pytest.mark.parametrize(
        ("config", "message"),
        [
            ({"name": "prunning"}, "expected one of none"),
            ({"name": "pruning", "fraction": 0.1}, "has keep_fraction"),
            ({"name": "pruning", "keep_fraction": 0.0}, "expected in"),
            ({"name": "noise", "relative_std": -1.0}, "at least 0"),
            ({"name": "dp_sgd", "clip_norm": 0.0}, "above 0"),
            ({"name": "quantization", "num_bits": 1}, "2 to 16"),
            ({"name": "aggregation", "num_clients": 0}, "at least 1"),
        ],
    )
    def test_defences(self, config, message):
        with pytest.raises(ConfigError, match=message):
            defence_from_config(config)

    def test_accounting(self):
        with pytest.raises(UserError, match="at least 0"):
            gaussian_epsilon(-1.0)
        with pytest.raises(UserError, match=r"in \(0, 1\)"):
            gaussian_epsilon(1.0, delta=1.0)
        with pytest.raises(UserError, match="sampling_probability"):
            training_epsilon(1.0, 0.0, 10)
        with pytest.raises(UserError, match="'pld' or 'rdp'"):
            training_epsilon(1.0, 0.1, 10, accountant="gdp")
