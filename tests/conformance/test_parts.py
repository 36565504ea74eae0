"""The same questions, asked of every layer, optimizer, schedule, metric and distribution."""

import keras
import numpy as np
import register
import tensorflow as tf
from questions import each


@each(register.LAYERS)
def test_layers_build_once_and_keep_float32(name):
    for policy in ("float32", "mixed_float16"):
        layer = register.LAYERS[name](dtype=policy)
        assert not layer.weights
        layer.build()
        assert {v.dtype for v in layer.weights if "float" in v.dtype} == {"float32"}
        paths = [v.path for v in layer.weights]
        assert len(set(paths)) == len(paths)


@each(register.OPTIMIZERS)
class TestOptimizers:
    GRADIENTS = ([1.0, -2.0, 0.5], [0.3, 0.0, -4.0])

    def trajectory(self, name, wrap, dtype="float32"):
        variable = keras.Variable([1.0, 2.0, 3.0], dtype=dtype)
        optimizer = register.OPTIMIZERS[name]()
        optimizer.build([variable])
        step = wrap(lambda g: optimizer.apply([g], [variable]))
        for gradient in self.GRADIENTS:
            step(tf.constant(gradient, dtype))
        return variable

    def test_graph_and_xla_equal_eager(self, name):
        eager = self.trajectory(name, lambda f: f)
        assert np.all(eager.numpy() != [1.0, 2.0, 3.0])
        for jit_compile in (False, True):
            other = self.trajectory(
                name, lambda f, jit=jit_compile: tf.function(f, jit_compile=jit, autograph=False)
            )
            np.testing.assert_allclose(other.numpy(), eager.numpy(), rtol=1e-6)

    def test_state_comes_back(self, name, tmp_path):
        variable = keras.Variable([1.0, 2.0, 3.0])
        first, second = (register.OPTIMIZERS[name]() for _ in range(2))
        for optimizer in (first, second):
            optimizer.build([variable])
        first.apply([tf.constant(self.GRADIENTS[0])], [variable])
        values = [v.numpy() for v in first.variables]
        for target, value in zip(second.variables, values, strict=True):
            target.assign(value)
        start = variable.numpy()
        results = []
        for optimizer in (first, second):
            variable.assign(start)
            optimizer.apply([tf.constant(self.GRADIENTS[1])], [variable])
            results.append(variable.numpy())
        np.testing.assert_array_equal(*results)

    def test_keeps_the_dtype(self, name):
        for dtype in ("float32", "float64", "bfloat16"):
            variable = self.trajectory(name, lambda f: f, dtype)
            assert variable.dtype == dtype
            assert np.all(np.isfinite(np.asarray(variable.numpy(), np.float64)))


@each(register.SCHEDULES)
def test_schedules_take_any_step(name):
    schedule = register.SCHEDULES[name]()
    run = tf.function(schedule)
    for step in (0, 1, 7, 10**6):
        rates = [
            float(rate(tf.constant(step, dtype)))
            for rate in (schedule, run)
            for dtype in (tf.int32, tf.int64, tf.float32)
        ]
        np.testing.assert_allclose(rates, rates[0], rtol=1e-5)
        assert np.isfinite(rates[0])


@each(register.METRICS)
def test_metrics_reset_and_accumulate(name):
    make, values = register.METRICS[name]
    metric = make()
    metric.update_state(values)
    first = {k: float(v) for k, v in metric.result().items()}
    run = tf.function(metric.update_state, autograph=False)
    metric.reset_state()
    run(values)
    for key, value in metric.result().items():
        np.testing.assert_allclose(value, first[key], rtol=1e-5)
    metric.reset_state()
    assert all(np.isnan(float(v)) for v in metric.result().values())


@each(register.DISTRIBUTIONS)
class TestDistributions:
    def test_graph_and_xla_equal_eager(self, name):
        make, values = register.DISTRIBUTIONS[name]
        distribution = make()
        eager = distribution.log_prob(values).numpy()
        assert np.all(np.isfinite(eager))
        for jit_compile in (False, True):
            run = tf.function(distribution.log_prob, jit_compile=jit_compile, autograph=False)
            np.testing.assert_allclose(run(values), eager, rtol=1e-4, atol=1e-4)

    def test_crosses_the_border_of_a_function(self, name):
        make, values = register.DISTRIBUTIONS[name]
        score = tf.function(lambda d, x: d.log_prob(x), autograph=False)
        np.testing.assert_allclose(score(make(), values), make().log_prob(values), rtol=1e-4)

    def test_shapes(self, name):
        make, values = register.DISTRIBUTIONS[name]
        distribution = make()
        shape = tf.concat([distribution.batch_shape, distribution.event_shape], 0)
        assert shape.numpy().tolist() == list(values.shape)
        assert distribution.log_prob(values).shape == distribution.batch_shape
        assert distribution.sample(4, seed=1).shape == (4, *values.shape)
        assert distribution.mean().shape == values.shape

    def test_samples_replay(self, name):
        make, _ = register.DISTRIBUTIONS[name]
        first, again, other = (make().sample(3, seed=(0, s)) for s in (1, 1, 2))
        np.testing.assert_array_equal(first, again)
        assert np.any(first != other)

    def test_copies(self, name):
        make, values = register.DISTRIBUTIONS[name]
        twin = make().copy()
        assert type(twin) is type(make())
        np.testing.assert_array_equal(twin.log_prob(values), make().log_prob(values))
