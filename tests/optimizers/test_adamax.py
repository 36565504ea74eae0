"""Adamax against the algorithm in float64."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen.optimizers import Adamax
from tfgen.optimizers import compiled as compiled_updates
from tfgen.optimizers.adamax import adamax_update
from tfgen.training import strategy_from_name

RNG = np.random.default_rng(0)


def reference(p, gradients, learning_rates, beta_1=0.9, beta_2=0.999, epsilon=1e-3, decay=0.0):
    """As NVAE was trained: epsilon joins |g| inside the maximum, decay joins the gradient."""
    m, u = np.zeros_like(p), np.zeros_like(p)
    for t, (g, lr) in enumerate(zip(gradients, learning_rates), 1):
        g = g + decay * p
        m = beta_1 * m + (1 - beta_1) * g
        u = np.maximum(beta_2 * u, np.abs(g) + epsilon)
        p = p - lr / (1 - beta_1**t) * m / u
    return p


def run(optimizer, start, gradients):
    variable = keras.Variable(start.astype(np.float32))
    optimizer.build([variable])
    step = tf.function(lambda g: optimizer.apply([g], [variable]))
    for gradient in gradients:
        step(tf.constant(gradient, tf.float32))
    return variable.numpy()


def test_two_steps_of_the_recipe():
    # By hand: g = .5 + 3e-4, u = g + 1e-3, so p = 1 - .01 (.5003 / .5013); then once more.
    for gradients, expected in (([0.5], 0.99001995), ([0.5, -0.2], 0.98738661)):
        optimizer = Adamax(0.01, epsilon=1e-3, weight_decay=3e-4)
        np.testing.assert_allclose(run(optimizer, np.array(1.0), gradients), expected, atol=1e-7)


@pytest.mark.parametrize("decay", [0.0, 3e-2])
@pytest.mark.parametrize("compiled", [True, False])
def test_trajectory(compiled, decay, monkeypatch):
    monkeypatch.setattr(compiled_updates, "_COMPILED_FROM", 1 if compiled else 2**40)
    start, gradients = RNG.standard_normal((3, 4)), RNG.standard_normal((6, 3, 4))
    optimizer = Adamax(0.1, beta_1=0.8, beta_2=0.95, epsilon=0.1, weight_decay=decay)
    expected = reference(start, gradients, [0.1] * 6, 0.8, 0.95, 0.1, decay)
    np.testing.assert_allclose(run(optimizer, start, gradients), expected, rtol=1e-5, atol=1e-6)


def test_mixed_sizes_in_one_step():
    # The large tensor takes the compiled way, the small one does not.
    shapes = [(compiled_updates._COMPILED_FROM,), (3,)]
    starts = [RNG.standard_normal(s) for s in shapes]
    gradients = [RNG.standard_normal(s) for s in shapes]
    variables = [keras.Variable(s.astype(np.float32)) for s in starts]
    optimizer = Adamax(0.01)
    optimizer.build(variables)
    step = tf.function(lambda *g: optimizer.apply(g, variables), autograph=False)
    step(*(tf.constant(g, tf.float32) for g in gradients))
    for variable, start, gradient in zip(variables, starts, gradients):
        np.testing.assert_allclose(
            variable.numpy(), reference(start, [gradient], [0.01]), rtol=1e-5, atol=1e-6
        )
    assert int(optimizer.iterations.numpy()) == 1


@pytest.mark.parametrize("compiled", [True, False])
def test_schedule(compiled, monkeypatch):
    monkeypatch.setattr(compiled_updates, "_COMPILED_FROM", 1 if compiled else 2**40)

    class Linear(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.1 * tf.cast(step, tf.float32)

    start, gradients = RNG.standard_normal(5), RNG.standard_normal((4, 5))
    expected = reference(start, gradients, [0.0, 0.1, 0.2, 0.3])
    np.testing.assert_allclose(run(Adamax(Linear()), start, gradients), expected, rtol=1e-5)


def test_zero_gradient_stays_put():
    start = RNG.standard_normal(4)
    np.testing.assert_array_equal(run(Adamax(0.1), start, np.zeros((3, 4))), np.float32(start))


def test_solves_a_parabola():
    variable = keras.Variable([2.0, -3.0])
    optimizer = Adamax(0.2)
    optimizer.build([variable])

    @tf.function
    def step():
        optimizer.apply([2.0 * (variable.value - 1.0)], [variable])

    for _ in range(150):
        step()
    np.testing.assert_allclose(variable.numpy(), [1.0, 1.0], atol=0.05)


def test_update_keeps_float64():
    values = [tf.constant(RNG.standard_normal(3)) for _ in range(4)]
    p, m, u = adamax_update(*values, 0.1, 0.5, 0.9, 0.999, 1e-3, 0.0)
    assert {t.dtype for t in (p, m, u)} == {tf.float64}


def test_replicas_equal_one():
    start, gradients = RNG.standard_normal((2, 3)), RNG.standard_normal((3, 2, 3))
    strategy = strategy_from_name("mirrored")
    with strategy.scope():
        variable = keras.Variable(start.astype(np.float32))
        optimizer = Adamax(0.1)
        optimizer.build([variable])
    step = tf.function(
        lambda g: strategy.run(lambda: optimizer.apply([g / 2.0], [variable])), autograph=False
    )
    for gradient in gradients:
        step(tf.constant(gradient, tf.float32))
    expected = reference(start, gradients, [0.1] * 3)
    for copy in variable.value.values:
        np.testing.assert_allclose(copy.numpy(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("extra", [{"clipnorm": 0.5}, {"use_ema": True, "ema_momentum": 0.5}])
def test_keras_options_work(extra):
    start, gradients = RNG.standard_normal(4), 3.0 * RNG.standard_normal((3, 4))
    used = gradients
    if "clipnorm" in extra:
        used = [0.5 * g / np.linalg.norm(g) for g in gradients]
    actual = run(optimizer := Adamax(0.1, **extra), start, gradients)
    np.testing.assert_allclose(actual, reference(start, used, [0.1] * 3), rtol=1e-5, atol=1e-6)
    if optimizer.use_ema:
        assert np.any(optimizer._model_variables_moving_average[0].numpy() != actual)


def test_config_round_trip():
    optimizer = Adamax(0.3, 0.8, 0.9, 0.2, 0.1, name="mine", use_ema=True)
    config = keras.optimizers.serialize(optimizer)
    again = keras.optimizers.deserialize(config)
    assert type(again) is Adamax
    assert again.get_config() == optimizer.get_config()
    assert (again.beta_1, again.beta_2, again.epsilon, again.l2) == (0.8, 0.9, 0.2, 0.1)
