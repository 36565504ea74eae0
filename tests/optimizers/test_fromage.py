"""Fromage against Algorithm 1 in float64, worked by hand and by NumPy."""

import keras
import numpy as np
import optax
import pytest
import tensorflow as tf

from tfgen.optimizers import Fromage

RNG = np.random.default_rng(0)
X, TARGET = np.array([1.0, 2.0]), np.array([1.0, 2.0])
KERNEL, BIAS = np.array([[3.0, 0.0], [0.0, 4.0]]), np.zeros(2)


def exactly(rate):
    """A learning rate in float64; Keras holds plain numbers in float32."""
    return lambda: tf.constant(rate, tf.float64)


def reference(w, g, rate):
    """Algorithm 1."""
    norms = np.linalg.norm(w), np.linalg.norm(g)
    ratio = norms[0] / norms[1] if min(norms) > 0 else 1.0
    return (w - rate * ratio * g) / np.sqrt(1.0 + rate**2)


def run(optimizer, starts, gradients, dtype="float64", compiled=False):
    """Values after steps with the given gradients; those may depend on the values."""
    variables = [keras.Variable(s, dtype=dtype) for s in starts]
    optimizer.build(variables)

    def step(*g):
        optimizer.apply(list(g), variables)

    if compiled:
        step = tf.function(step, autograph=False, jit_compile=True)
    for g in gradients:
        g = g([v.numpy() for v in variables]) if callable(g) else g
        step(*(tf.constant(x, dtype) for x in g))
    return [v.numpy() for v in variables]


def one_step(w, g, rate=0.1, dtype="float64", **options):
    return run(Fromage(exactly(rate), **options), [np.array(w)], [[np.array(g)]], dtype)[0]


def gradients_of_layer(values):
    kernel, bias = values
    error = X @ kernel + bias - TARGET
    return [np.outer(X, error), error]


def loss_of_layer(kernel, bias):
    return 0.5 * np.sum((X @ kernel + bias - TARGET) ** 2)


PLAIN = [[2.91475182, -0.21107926], [-0.14071951, 3.55799023]]
PLAIN_BIAS = [-0.19900744, -0.59702231]
CLIPPED = [[2.80639761, -0.26807093], [-0.26807093, 3.71207783]]
DECAYED = [[2.88560438, -0.20896849], [-0.13931231, 3.52241015]]
BOUNDED = [[2.84739184, -0.20620120], [-0.13746747, 3.47576499]]
SMALL = [[2.99277930, -0.02121214], [-0.01414143, 3.95737573]]
LAYER = [  # rate, options, kernel, bias, loss
    (0.1, {}, PLAIN, PLAIN_BIAS, 10.3075262),
    (0.01, {}, SMALL, [-0.019999, -0.059997], 18.90564312),
    (0.1, {"clipnorm": 1.0}, PLAIN, [-0.03146584, -0.09439751], None),
    (0.1, {"global_clipnorm": 1.0}, PLAIN, [-0.01284587, -0.03853763], None),
    (0.1, {"clipvalue": 3.0}, CLIPPED, [-0.19900744, -0.29851115], None),
    (0.1, {"weight_decay": 0.1}, DECAYED, PLAIN_BIAS, None),
    (0.1, {"p_bound": 1.0, "p_bound_floor": 0.0}, PLAIN, [0.0, 0.0], None),
    (0.1, {"p_bound": 0.9, "p_bound_floor": 0.0}, BOUNDED, [0.0, 0.0], None),
    (0.1, {"p_bound": 0.9}, BOUNDED, PLAIN_BIAS, None),
]


@pytest.mark.parametrize(("rate", "options", "kernel", "bias", "loss"), LAYER)
def test_linear_layer_worked_by_hand(rate, options, kernel, bias, loss):
    optimizer = Fromage(exactly(rate), **options)
    values = run(optimizer, [KERNEL, BIAS], [gradients_of_layer])
    # Keras decays weights and clips in float32 constants.
    atol = 1e-7 if {"weight_decay", "clipnorm", "global_clipnorm"} & set(options) else 1e-8
    np.testing.assert_allclose(values[0], kernel, atol=atol)
    np.testing.assert_allclose(values[1], bias, atol=atol)
    if loss is not None:
        np.testing.assert_allclose(loss_of_layer(*values), loss, atol=1e-7)


def test_second_step_of_the_linear_layer():
    for rate, loss in ((0.1, 5.84587545), (0.01, 18.22326956)):
        values = run(Fromage(exactly(rate)), [KERNEL, BIAS], 2 * [gradients_of_layer])
        np.testing.assert_allclose(loss_of_layer(*values), loss, atol=1e-7)
    values = run(Fromage(exactly(0.1)), [KERNEL, BIAS], 2 * [gradients_of_layer])
    np.testing.assert_allclose(
        values[0], [[2.83553187, -0.40451954], [-0.26953032, 3.15135695]], atol=1e-8
    )
    np.testing.assert_allclose(values[1], [-0.21780125, -0.65347219], atol=1e-8)


@pytest.mark.parametrize(
    ("rate", "gradient", "options", "expected"),
    [
        (0.1, [4.0, -3.0], {}, [2.58709669, 4.27865992]),
        (0.1, [3.0, 4.0], {}, [2.68660041, 3.58213388]),
        (0.1, [-3.0, -4.0], {}, [3.28362273, 4.37816364]),
        (0.1, [-3.0, -4.0], {"p_bound": 1.0}, [3.0, 4.0]),
        (0.01, [1.0, 0.0], {}, [2.94985251, 3.99980001]),
    ],
)
def test_vectors_worked_by_hand(rate, gradient, options, expected):
    actual = one_step([3.0, 4.0], gradient, rate, **options)
    np.testing.assert_allclose(actual, expected, atol=1e-8)


def test_quadratic():
    optimizer = Fromage(exactly(0.003))
    values, losses = np.array([1.0, 2.0, 3.0]), []
    variable = keras.Variable(values, dtype="float64")
    for _ in range(6):
        losses.append(float(np.sum(variable.numpy() ** 2)))
        optimizer.apply([2.0 * variable.value], [variable])
    expected = [14.0, 13.916001, 13.832506, 13.749511, 13.667015, 13.585014]
    np.testing.assert_allclose(losses, expected, atol=1e-6)
    ratio = (1.0 - 0.003) ** 2 / (1.0 + 0.003**2)
    np.testing.assert_allclose(np.divide(losses[1:], losses[:-1]), ratio, rtol=1e-13)


def optax_run(starts, gradients, transform, dtype):
    import jax

    with jax.enable_x64(dtype == "float64"):
        parameters = [jax.numpy.asarray(s, dtype) for s in starts]
        state = transform.init(parameters)
        for g in gradients:
            g = [jax.numpy.asarray(x, dtype) for x in g]
            updates, state = transform.update(g, state, parameters)
            parameters = optax.apply_updates(parameters, updates)
        return [np.asarray(p) for p in parameters]


@pytest.mark.parametrize("rate", [0.3, 0.01])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("zero_norm", ["sgd", "floor"])
def test_equals_optax(rate, dtype, zero_norm):
    shapes = [(5, 7), (3,), (3, 3, 4, 8)]
    starts = [RNG.standard_normal(s) for s in shapes]
    gradients = [[RNG.standard_normal(s) for s in shapes] for _ in range(50)]
    min_norm = {"sgd": 0.0, "floor": 1e-6}[zero_norm]
    expected = optax_run(starts, gradients, optax.fromage(rate, min_norm=min_norm), dtype)
    actual = run(Fromage(exactly(rate), zero_norm=zero_norm), starts, gradients, dtype)
    for a, b in zip(actual, expected):
        assert np.max(np.abs(a - b)) < {"float64": 1e-13, "float32": 1e-5}[dtype]


def test_policies_at_zero():
    zero, g = np.zeros(3), [1.0, 2.0, 2.0]
    published = [-0.0099995, -0.019999, -0.019999]
    np.testing.assert_allclose(one_step(zero, g, 0.01), published, atol=1e-8)
    floor = one_step(zero, g, 0.01, zero_norm="floor")
    np.testing.assert_allclose(floor, [-3.33316668e-9, -6.6663e-9, -6.6663e-9], rtol=1e-4)
    np.testing.assert_allclose(
        floor, optax_run([zero], [[np.array(g)]], optax.fromage(0.01), "float64")[0], rtol=1e-6
    )
    # As though the root mean square were 0.01, so the norm 0.01 sqrt(3).
    expected = -0.01 * 0.01 * np.sqrt(3.0) * np.array(g) / 3.0 / np.sqrt(1.0001)
    reference_ = one_step(zero, g, 0.01, zero_norm="reference")
    np.testing.assert_allclose(reference_, expected, rtol=1e-12)
    half = one_step(zero, g, 0.01, zero_norm="reference", norm_floor=0.005)
    np.testing.assert_allclose(half, expected / 2.0, rtol=1e-12)
    for policy in ("sgd", "floor", "reference"):
        shrunk = one_step([1.0, 2.0, 2.0], zero, 0.01, zero_norm=policy)
        np.testing.assert_allclose(shrunk, np.array([1.0, 2.0, 2.0]) / np.sqrt(1.0001), rtol=1e-14)
        np.testing.assert_array_equal(one_step(zero, zero, 0.01, zero_norm=policy), zero)


def test_reference_lets_zero_tensors_keep_up():
    gradients = [[np.ones(4)]] * 100
    slow, fast = (
        run(Fromage(exactly(0.01), zero_norm=z), [np.zeros(4)], gradients)[0]
        for z in ("floor", "reference")
    )
    assert np.max(np.abs(slow)) < 1e-4
    np.testing.assert_allclose(fast, -0.01, rtol=0.1)  # 100 steps of 1e-4


def test_scale_invariant_tensor_keeps_its_norm():
    # A loss of W / |W| has its gradient orthogonal to W.
    target, start = RNG.standard_normal((2, 20))

    def tangent(w):
        unit = w / np.linalg.norm(w)
        g = -(target - unit * (unit @ target)) / np.linalg.norm(w)
        return g - unit * (unit @ g)

    cosines = []

    def gradient(values):
        g = tangent(values[0])
        cosines.append(values[0] @ g / np.linalg.norm(values[0]) / np.linalg.norm(g))
        return [g]

    variable = keras.Variable(start, dtype="float64")
    optimizer = Fromage(exactly(0.01))
    optimizer.build([variable])
    step = tf.function(lambda g: optimizer.apply([g], [variable]), autograph=False)
    for _ in range(1000):
        step(tf.constant(gradient([variable.numpy()])[0]))
    ratio = np.linalg.norm(variable.numpy()) / np.linalg.norm(start)
    assert abs(ratio - 1.0) < 1e-12
    assert np.max(np.abs(cosines)) < 1e-14
    # What the denominator holds back: LARS, the same without it, grows by 5 % in this time.
    w = start
    for _ in range(1000):
        w = reference(w, tangent(w), 0.01) * np.sqrt(1.0 + 0.01**2)
    np.testing.assert_allclose(
        np.linalg.norm(w) / np.linalg.norm(start), (1 + 1e-4) ** 500, rtol=1e-12
    )


def test_norms_of_the_published_gan():
    # 196 steps an epoch under spectral normalisation: its logs show norms times 2.640 in 99
    # epochs without the denominator, and 1.002 with it.
    grown = np.sqrt(1.0 + 0.01**2) ** (196 * 99)
    np.testing.assert_allclose(grown, 2.638, atol=1e-3)
    np.testing.assert_allclose(grown, 0.1642 / 0.0622, rtol=2e-3)
    w = one_step([3.0, 4.0], [4.0, -3.0], 0.01)
    np.testing.assert_allclose((np.linalg.norm(w) / 5.0) ** (196 * 99), 1.0, atol=1e-10)


@pytest.mark.parametrize("shape", [(), (4,), (2, 3), (3, 3, 2, 4)])
def test_equivariance(shape):
    w, g = RNG.standard_normal((2, *shape))
    step = one_step(w, g)
    np.testing.assert_allclose(one_step(7.0 * w, g), 7.0 * step, rtol=1e-13)
    np.testing.assert_allclose(one_step(w, 1e-12 * g), step, rtol=1e-13)


def test_norms_stay_within_bounds():
    for rate in (0.1, 0.01):
        starts, gradients = RNG.standard_normal((2, 1000, 3))
        new = run(Fromage(exactly(rate)), list(starts), [list(gradients)])
        ratios = np.linalg.norm(new, axis=1) / np.linalg.norm(starts, axis=1)
        root = np.sqrt(1.0 + rate**2)
        assert np.all(ratios >= (1.0 - rate) / root * (1 - 1e-12))
        assert np.all(ratios <= (1.0 + rate) / root * (1 + 1e-12))
        # The identity of norms, for each pair.
        norms = np.linalg.norm(starts, axis=1) * np.linalg.norm(gradients, axis=1)
        cosines = np.sum(starts * gradients, axis=1) / norms
        expected = (1.0 + rate**2 - 2.0 * rate * cosines) / (1.0 + rate**2)
        np.testing.assert_allclose(ratios**2, expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [1e-30, 1e-20, 1.0, 1e20, 1e30])
@pytest.mark.parametrize("size", [8, 2**15])
@pytest.mark.parametrize("options", [{}, {"p_bound": 1.0}, {"granularity": 0}])
def test_gradients_of_any_scale(scale, size, options):
    w, g = RNG.standard_normal((2, size, 1))
    actual = one_step(w, scale * g, 0.1, "float32", **options)
    if "granularity" in options:
        expected = (w - 0.1 * np.abs(w) * np.sign(g)) / np.sqrt(1.01)
    else:
        expected = reference(w, g, 0.1)
    if "p_bound" in options:
        expected *= min(1.0, np.linalg.norm(w) / np.linalg.norm(expected))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("compiled", [False, True])
def test_zeros_stay_finite(dtype, compiled):
    """In one step for all shapes, since each tensor is updated by itself."""
    shapes = [(), (0,), (3, 0), (5,), (2, 2**14)]
    starts, gradients = (
        [level * np.ones(shape) for shape in shapes for level in levels]
        for levels in ([0.0, 0.0, 1.0, 1e-3], [0.0, 1.0, 0.0, 6e4])
    )
    for options in ({}, {"p_bound": 1.0, "p_bound_floor": 0.0}, {"zero_norm": "reference"}):
        for value in run(Fromage(0.01, **options), starts, 2 * [gradients], dtype, compiled):
            assert np.all(np.isfinite(np.asarray(value, np.float64)))


def test_schedule_moves_the_denominator():
    class Linear(keras.optimizers.schedules.LearningRateSchedule):
        def __call__(self, step):
            return 0.1 * tf.cast(step + 1, tf.float64)

    start, gradients = RNG.standard_normal(6), RNG.standard_normal((5, 6))
    expected = start
    for t, g in enumerate(gradients):
        expected = reference(expected, g, 0.1 * (t + 1))
    actual = run(Fromage(Linear()), [start], gradients[:, None])[0]
    np.testing.assert_allclose(actual, expected, rtol=1e-12)


def test_a_rate_of_zero_leaves_everything():
    w, g = RNG.standard_normal((2, 5))
    np.testing.assert_array_equal(one_step(w, g, 0.0), w)


@pytest.mark.parametrize("shape", [(4, 5), (2**8, 2**7)])
def test_bounded_trajectory(shape):
    start, direction = RNG.standard_normal((2, *shape))
    gradients = [[0.3 * direction + RNG.standard_normal(shape)] for _ in range(20)]
    expected, cap = start, 1.02 * np.linalg.norm(start)
    met = 0
    for (g,) in gradients:
        expected = reference(expected, g, 0.1)
        met += np.linalg.norm(expected) > cap
        expected = expected * min(1.0, cap / np.linalg.norm(expected))
    assert 0 < met < 20
    actual = run(Fromage(exactly(0.1), p_bound=1.02), [start], gradients)[0]
    np.testing.assert_allclose(actual, expected, rtol=1e-7)  # the start is kept in float32
    single = run(Fromage(0.1, p_bound=1.02), [start], gradients, "float32")[0]
    np.testing.assert_allclose(single, expected, rtol=1e-3, atol=1e-4)
    assert np.linalg.norm(single) <= cap * (1 + 1e-5)


def test_bounds_start_where_training_does():
    # Weights loaded after `build` count, and a tensor whose first gradient comes late.
    variables = [keras.Variable([3.0, 4.0]), keras.Variable([0.0, 1.0])]
    optimizer = Fromage(0.1, p_bound=1.0)
    optimizer.build(variables)
    variables[0].assign([6.0, 8.0])
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply([tf.constant([-6.0, -8.0]), None], variables)
    variables[1].assign([0.0, 5.0])
    for _ in range(3):
        optimizer.apply([tf.constant([-6.0, -8.0]), tf.constant([0.0, -1.0])], variables)
    np.testing.assert_allclose(variables[0].numpy(), [6.0, 8.0], rtol=1e-6)
    np.testing.assert_allclose(variables[1].numpy(), [0.0, 5.0], rtol=1e-6)


def test_floor_of_the_bound():
    # Counts as a start of 0.5 sqrt(4) = 1.
    values = run(
        Fromage(0.1, p_bound=2.0, p_bound_floor=0.5),
        [np.zeros(4)],
        100 * [[-np.ones(4)]],
        "float32",
    )
    np.testing.assert_allclose(np.linalg.norm(values[0]), 2.0, rtol=1e-5)
