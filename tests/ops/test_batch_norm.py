"""Batch norm with its activation in one op, against the sums written out in float64."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.ops import batch_norm
from tfgen.ops.batch_norm import EPSILON, normalize, normalize_rows, normalize_synchronized
from tfgen.training import strategy_from_name

ACTIVATIONS = ["swish", "elu", None]
RNG = np.random.default_rng(0)


def inputs(shape=(3, 4, 5, 6)):
    x = RNG.standard_normal(shape) * 2.0 + RNG.standard_normal(shape[-1])
    return x, RNG.uniform(0.5, 2.0, shape[-1]), RNG.standard_normal(shape[-1])


def composed(x, scale, offset, activation):
    """Value, mean and variance from elementary float64 operations, which autodiff takes apart."""
    mean = tf.reduce_mean(x, [0, 1, 2])
    variance = tf.reduce_mean(tf.square(x - mean), [0, 1, 2])
    y = (x - mean) / tf.sqrt(variance + EPSILON) * scale + offset
    if activation == "swish":
        y = y / (1.0 + tf.exp(-y))
    elif activation == "elu":
        y = tf.where(y > 0, y, tf.exp(tf.minimum(y, 0.0)) - 1.0)
    return y, mean, variance


def value_and_gradients(function, arguments, activation, dy, dtype):
    arguments = [tf.constant(a, dtype) for a in arguments]
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        y, mean, variance = function(*arguments, activation)
    gradients = tape.gradient(y, arguments, output_gradients=tf.constant(dy, dtype))
    return [y, mean, variance], gradients


@pytest.fixture(params=[True, False], ids=["cpu form", "library form"])
def cpu_form(request, monkeypatch):
    monkeypatch.setattr(batch_norm, "pays", lambda x: request.param)


@pytest.mark.usefixtures("cpu_form")
class TestNormalize:
    @pytest.mark.parametrize("activation", ACTIVATIONS)
    def test_values_and_gradients(self, activation):
        arguments = inputs()
        dy = RNG.standard_normal(arguments[0].shape)
        actual = value_and_gradients(normalize, arguments, activation, dy, tf.float32)
        expected = value_and_gradients(composed, arguments, activation, dy, tf.float64)
        for a, b in zip(tf.nest.flatten(actual), tf.nest.flatten(expected), strict=True):
            scale = np.abs(b).max()
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * scale)

    def test_statistics_have_no_gradient(self):
        x, scale, offset = (tf.constant(a, tf.float32) for a in inputs())
        with tf.GradientTape() as tape:
            tape.watch(x)
            _, mean, variance = normalize(x, scale, offset, "swish")
            total = tf.reduce_sum(mean) + tf.reduce_sum(variance)
        gradient = tape.gradient(total, x, unconnected_gradients="zero")
        if batch_norm.pays(x):  # the library's op hands out its variance with a gradient
            np.testing.assert_array_equal(gradient, tf.zeros_like(x))

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_half_precision_keeps_float32_statistics(self, dtype):
        x, scale, offset = inputs((8, 4, 4, 3))
        y, mean, variance = normalize(
            tf.cast(x, dtype), tf.cast(scale, "float32"), tf.cast(offset, "float32"), "swish"
        )
        assert (y.dtype, mean.dtype, variance.dtype) == (dtype, tf.float32, tf.float32)
        rounded = tf.cast(tf.cast(x, dtype), tf.float64)
        expected = composed(rounded, scale, offset, "swish")
        bits = {"float16": 10, "bfloat16": 7}[dtype]
        np.testing.assert_allclose(tf.cast(y, tf.float64), expected[0], atol=8 * 2.0**-bits)
        np.testing.assert_allclose(mean, expected[1], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(variance, expected[2], rtol=1e-4, atol=1e-4)

    def test_half_precision_sums_in_float32(self):
        # The sum of these gradients is beyond float16.
        x = tf.cast(tf.random.stateless_normal((64, 4, 4, 2), [0, 1]), "float16")
        offset = tf.zeros(2)
        with tf.GradientTape() as tape:
            tape.watch(offset)
            y, *_ = normalize(x, tf.ones(2), offset, None)
        gradient = tape.gradient(
            y, offset, output_gradients=tf.fill(y.shape, tf.constant(100, y.dtype))
        )
        np.testing.assert_allclose(gradient, [102400.0] * 2, rtol=1e-3)

    def test_far_from_zero(self):
        # E[x^2] - E[x]^2 in float32 would lose this variance altogether.
        x = 1e3 + 0.1 * RNG.standard_normal((8, 4, 4, 2))
        expected = composed(tf.constant(x), np.ones(2), np.zeros(2), None)
        _, mean, variance = normalize(tf.constant(x, tf.float32), tf.ones(2), tf.zeros(2), None)
        np.testing.assert_allclose(mean, expected[1], rtol=1e-6)
        np.testing.assert_allclose(variance, expected[2], rtol=2e-3)

    def test_batch_of_unknown_size(self):
        signature = [tf.TensorSpec([None, 2, 3, 4])]

        @tf.function(input_signature=signature)
        def run(x):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y, mean, variance = normalize(x, tf.ones(4), tf.zeros(4), "swish")
            return y, mean, variance, tape.gradient(y, x)

        x = tf.random.stateless_normal((5, 2, 3, 4), [0, 1])
        for a, b in zip(run(x)[:3], composed(tf.cast(x, tf.float64), 1.0, 0.0, "swish")):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


class TestSynchronized:
    def test_two_replicas_are_one_batch(self):
        x, scale, offset = (tf.constant(a, tf.float32) for a in inputs((4, 2, 3, 5)))
        strategy = strategy_from_name("mirrored")
        halves = strategy.experimental_distribute_values_from_function(
            lambda context: x[2 * context.replica_id_in_sync_group :][:2]
        )

        @tf.function
        def run(part):
            with tf.GradientTape() as tape:
                tape.watch(part)
                y, mean, variance = normalize_synchronized(part, scale, offset, "swish")
                loss = tf.reduce_sum(y**2)
            return y, mean, variance, tape.gradient(loss, part)

        results = strategy.run(run, (halves,))
        y, mean, variance, dx = (strategy.experimental_local_results(r) for r in results)
        with tf.GradientTape() as tape:
            tape.watch(x)
            whole = normalize(x, scale, offset, "swish")
            loss = tf.reduce_sum(whole[0] ** 2)
        np.testing.assert_allclose(tf.concat(y, 0), whole[0], rtol=1e-4, atol=1e-5)
        for replica in range(2):
            np.testing.assert_allclose(mean[replica], whole[1], rtol=1e-5, atol=1e-6)
            np.testing.assert_allclose(variance[replica], whole[2], rtol=1e-4)
        np.testing.assert_allclose(tf.concat(dx, 0), tape.gradient(loss, x), rtol=1e-3, atol=1e-3)

    @pytest.mark.parametrize(("mean", "spread"), [(30.0, 0.3), (1e3, 0.1), (1e3, 0.0)])
    def test_far_from_zero(self, mean, spread):
        x = tf.constant(mean + spread * RNG.standard_normal((8, 4, 4, 2)), tf.float32)
        strategy = strategy_from_name("mirrored")

        def run(shift):
            ones = tf.ones(2)
            return normalize_synchronized(x, ones, 0 * ones, None, shift)

        def one(values):  # both replicas hold the same batch
            return [strategy.experimental_local_results(value)[0] for value in values]

        run = tf.function(run)
        expected = np.var(x.numpy().astype(np.float64), axis=(0, 1, 2))
        _, centre, variance = one(strategy.run(run, (tf.constant([0.97, 1.02]) * mean,)))
        np.testing.assert_allclose(variance, expected, rtol=1e-2, atol=1e-6 * mean)
        np.testing.assert_allclose(centre, np.mean(x, axis=(0, 1, 2)), rtol=1e-5)
        # Even without a shift it stays finite.
        assert all(np.all(np.isfinite(r)) for r in one(strategy.run(run, (tf.zeros(2),))))


class TestNormalizeRows:
    """Batch norm and ReLU of rows of which some enter the statistics."""

    @pytest.fixture(params=[True, False], ids=["compiled", "plain"], autouse=True)
    def compiled(self, request, monkeypatch):
        monkeypatch.setattr(batch_norm, "pays", lambda x: request.param)

    def composed(self, x, scale, offset, counts):
        over = tf.maximum(tf.reduce_sum(counts), 1.0)
        column = tf.expand_dims(counts, 1)
        mean = tf.reduce_sum(x * column, 0) / over
        variance = tf.reduce_sum(tf.square(x - mean) * column, 0) / over
        y = (x - mean) / tf.sqrt(variance + EPSILON) * scale + offset
        return tf.nn.relu(y), mean, variance

    @pytest.mark.parametrize("counts", [[1, 1, 1, 1, 1], [1, 0, 1, 1, 0], [0] * 5])
    def test_values_and_gradients(self, counts):
        x, scale, offset = inputs((5, 6))
        dy = RNG.standard_normal(x.shape)
        results = []
        for function, dtype in ((self.composed, tf.float64), (normalize_rows, tf.float32)):
            arguments = [tf.constant(a, dtype) for a in (x, scale, offset)]
            with tf.GradientTape() as tape:
                tape.watch(arguments)
                y, mean, variance = function(*arguments, tf.constant(counts, dtype))
            slopes = tape.gradient(y, arguments, output_gradients=tf.constant(dy, dtype))
            results.append([y, mean, variance, *slopes])
        # Where nothing counts, the deviation is that of epsilon, and all is some hundred times.
        for wanted, actual in zip(*results, strict=True):
            bound = 2e-6 * max(np.abs(wanted).max(), 1.0)
            np.testing.assert_allclose(actual, wanted, rtol=2e-5, atol=10 * bound)
