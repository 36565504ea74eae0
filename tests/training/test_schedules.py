"""Schedules against values worked out by hand and float64 NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.training.schedules import (
    KLWarmup,
    WarmupCosine,
    anneal_coefficient,
    balance_coefficients,
    group_weights,
)


def float64(value):
    return tf.constant(value, tf.float64)


class TestKLWarmup:
    @pytest.mark.parametrize(
        ("step", "beta"), [(0, 1e-4), (100, 0.00394017), (11708, 0.50000855), (23408, 1.0)]
    )
    def test_values(self, step, beta):
        schedule = KLWarmup(total_steps=78_000)
        np.testing.assert_allclose(schedule(float64(step)), beta, atol=5e-9)
        np.testing.assert_allclose(schedule(step), beta, rtol=1e-6)

    def test_stays_at_one(self):
        assert float(KLWarmup(100)(99)) == 1.0
        assert float(KLWarmup(100)(10**7)) == 1.0

    def test_no_ramp_means_no_warmup(self):
        assert float(KLWarmup(100, ramp=0.0)(0)) == 1.0

    def test_inside_a_graph_with_an_integer_step(self):
        schedule = KLWarmup(1000)
        compiled = tf.function(schedule)
        assert float(compiled(tf.constant(150, tf.int64))) == float(schedule(150))

    def test_bad_arguments(self):
        with pytest.raises(ConfigError, match="total_steps"):
            KLWarmup(0)
        with pytest.raises(ConfigError, match="ramp=-1"):
            KLWarmup(10, ramp=-1)


class TestAnneal:
    @pytest.mark.parametrize(("beta", "value"), [(0.25, 0.3162278), (0.5, 0.1), (1.0, 0.01)])
    def test_values(self, beta, value):
        np.testing.assert_allclose(anneal_coefficient(float64(beta), 1.0, 0.01), value, atol=5e-8)

    def test_needs_positive_ends(self):
        with pytest.raises(ConfigError, match="positive"):
            anneal_coefficient(0.5, 0.0, 0.01)


class TestBalance:
    def test_worked_by_hand(self):
        # Two groups on the fine scale, one on the coarse: the coarse scale comes first.
        alpha = group_weights([1, 2])
        np.testing.assert_allclose(alpha, [1, 2, 2], atol=1e-12)
        kl = tf.constant([3.99, 9.99, 1.99], tf.float64)
        with tf.GradientTape() as tape:
            tape.watch(kl)
            gamma = balance_coefficients(kl, alpha, float64(0.5))
        np.testing.assert_allclose(gamma, [1.2, 1.5, 0.3], atol=1e-12)
        np.testing.assert_allclose(tf.reduce_sum(gamma), 3.0, atol=1e-12)
        assert tape.gradient(gamma, kl) is None

    def test_no_balance_after_the_warm_up(self):
        gamma = balance_coefficients(float64([3.99, 9.99, 1.99]), group_weights([1, 2]), 1.0)
        np.testing.assert_array_equal(gamma, [1, 1, 1])

    @pytest.mark.parametrize(
        ("kind", "alpha"),
        [
            ("square", [0.5, 0.5, 4, 8, 8]),
            ("equal", [1, 1, 1, 1, 1]),
            ("linear", [1, 1, 2, 4, 4]),
            ("sqrt", [1, 1, 2**0.5, 2, 2]),
        ],
    )
    def test_kinds(self, kind, alpha):
        expected = np.array(alpha) / min(alpha)
        np.testing.assert_allclose(group_weights([2, 1, 2], kind), expected, atol=1e-12)

    def test_unknown_kind(self):
        with pytest.raises(ConfigError, match="square, equal, linear, sqrt; got 'cube'"):
            group_weights([1], "cube")


class TestWarmupCosine:
    @pytest.mark.parametrize(
        ("epoch", "rate"),
        [(6, 0.00999984), (100, 0.00864648), (202, 0.00505), (300, 0.0015638), (399, 0.0001)],
    )
    def test_values(self, epoch, rate):
        schedule = WarmupCosine(1e-2, warmup_steps=5 * 195, steps_per_epoch=195, epochs=400)
        for step in (195 * epoch, 195 * epoch + 194):
            np.testing.assert_allclose(schedule(float64(step)), rate, atol=6e-9)
            np.testing.assert_allclose(schedule(step), rate, rtol=1e-5)

    def test_whole_curve(self):
        peak, final, warmup, per_epoch, epochs = 0.01, 1e-4, 20, 10, 12
        expected = []
        for step in range(per_epoch * epochs):
            epoch = step // per_epoch
            angle = np.pi * (epoch - 2) / (epochs - 2 - 1)
            fall = final + (peak - final) * (1 + np.cos(angle)) / 2
            expected.append(peak * step / warmup if step < warmup else fall)
        schedule = WarmupCosine(peak, warmup, per_epoch, epochs, final)
        actual = [float(schedule(float64(step))) for step in range(per_epoch * epochs)]
        np.testing.assert_allclose(actual, expected, rtol=1e-12)

    def test_first_step(self):
        arguments = {"peak": 0.01, "warmup_steps": 10, "steps_per_epoch": 10, "epochs": 3}
        assert float(WarmupCosine(**arguments)(0)) == 0.0
        schedule = WarmupCosine(**arguments, zero_first_step=False)
        np.testing.assert_allclose([schedule(0), schedule(9)], [0.001, 0.01], rtol=1e-6)

    def test_per_step(self):
        schedule = WarmupCosine(0.01, 10, 10, 5, final=0.0, per_step=True)
        rates = np.array([float(schedule(float64(step))) for step in range(10, 50)])
        expected = 0.005 * (1 + np.cos(np.pi * np.arange(40) / 39))
        np.testing.assert_allclose(rates, expected, atol=1e-15)

    def test_stays_at_the_end(self):
        schedule = WarmupCosine(0.01, 5, 5, 4)
        np.testing.assert_allclose(schedule(10_000), 1e-4, rtol=1e-6)

    @pytest.mark.parametrize(("warmup", "epochs"), [(0, 1), (10, 1), (10, 2)])
    def test_runs_too_short_to_fall(self, warmup, epochs):
        schedule = WarmupCosine(0.01, warmup, 10, epochs)
        rates = [float(schedule(step)) for step in range(10 * epochs)]
        assert np.isfinite(rates).all()
        assert max(rates) <= 0.01 + 1e-9

    def test_serialises_with_an_optimizer(self):
        schedule = WarmupCosine(0.01, 20, 10, 12, per_step=True, zero_first_step=False)
        config = keras.saving.serialize_keras_object(keras.optimizers.Adam(schedule))
        copy = keras.saving.deserialize_keras_object(config)
        assert copy._learning_rate.get_config() == schedule.get_config()

    def test_bad_arguments(self):
        with pytest.raises(ConfigError, match="fewer epochs or train for more"):
            WarmupCosine(0.01, 100, 10, 5)
        with pytest.raises(ConfigError, match="at least 1"):
            WarmupCosine(0.01, 0, 0, 5)
        with pytest.raises(ConfigError, match="negative"):
            WarmupCosine(-0.01, 0, 10, 5)
