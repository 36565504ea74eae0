"""Fromage beside what Keras and TensorFlow do around an optimizer."""

import contextlib
import math

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfgen
from tfgen.errors import ConfigError
from tfgen.optimizers import Fromage
from tfgen.training import WarmupCosine, strategy_from_name

RNG = np.random.default_rng(0)


def reference(w, g, rate, axes=None):
    """Algorithm 1, each entry along the axes left out of `axes` by itself."""
    sizes = [np.sqrt(np.sum(np.square(x), axis=axes, keepdims=True)) for x in (w, g)]
    return (w - rate * sizes[0] / sizes[1] * g) / np.sqrt(1.0 + rate**2)


def network():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            layers.Embedding(11, 4),
            layers.Flatten(),
            layers.Dense(8),
            layers.BatchNormalization(),
            layers.Activation("relu"),
            layers.Dense(3),
        ]
    )


X, Y = RNG.integers(0, 11, (24, 6)), RNG.integers(0, 3, 24)


def fit(optimizer, epochs=2, model=None, **options):
    model = model or network()
    if optimizer is not None:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss, **{"jit_compile": False, **options})
    model.fit(X, Y, batch_size=8, epochs=epochs, shuffle=False, verbose=0)
    return model


def apply(optimizer, variables, gradients):
    optimizer.build(variables)
    optimizer.apply([tf.constant(g, v.dtype) for g, v in zip(gradients, variables)], variables)
    return [v.numpy() for v in variables]


def test_is_found_by_name():
    assert tfgen.optimizers.Fromage is Fromage
    assert type(keras.optimizers.get("tfgen>Fromage")) is Fromage
    config = {"class_name": "tfgen>Fromage", "config": {"learning_rate": 0.5, "p_bound": 2.0}}
    assert keras.optimizers.get(config).p_bound == 2.0


def test_keeps_no_state_unless_asked():
    variables = [keras.Variable(RNG.standard_normal((5, 4))), keras.Variable(np.zeros(4))]
    plain, bounded = Fromage(), Fromage(p_bound=1.0)
    for optimizer in (plain, bounded):
        optimizer.build(variables)
    assert len(plain.variables) == 2  # iterations and learning rate
    assert [tuple(v.shape) for v in bounded.variables[2:]] == [(2,)]


@pytest.mark.parametrize("options", [{}, {"p_bound": 1.1, "gradient_accumulation_steps": 2}])
@pytest.mark.parametrize("scheduled", [False, True])
def test_resumes_to_the_last_bit(options, scheduled, tmp_path):
    def optimizer():
        rate = WarmupCosine(0.05, 2, 3, 4) if scheduled else 0.05
        return Fromage(rate, **options)

    whole = fit(optimizer(), epochs=4)
    half = fit(optimizer(), epochs=2)
    half.save(tmp_path / "half.keras")
    resumed = keras.models.load_model(tmp_path / "half.keras")
    assert type(resumed.optimizer) is Fromage
    assert resumed.optimizer.get_config() == half.optimizer.get_config()
    fit(None, model=resumed)
    for group in (lambda m: m.weights, lambda m: m.optimizer.variables):
        for a, b in zip(group(whole), group(resumed), strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy(), err_msg=a.path)


def test_compiled_fit_equals_plain():
    options = {"p_bound": 1.05, "gradient_accumulation_steps": 2, "use_ema": True}
    plain, compiled = (
        fit(Fromage(0.05, **options), jit_compile=compile_) for compile_ in (False, True)
    )
    for a, b in zip(plain.weights, compiled.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-3, atol=1e-4, err_msg=a.path)


def test_sparse_gradients_are_summed_before_their_norm():
    table = RNG.standard_normal((4, 3)).astype(np.float32)
    values = RNG.standard_normal((3, 3)).astype(np.float32)
    dense = np.zeros((4, 3), np.float32)
    np.add.at(dense, [1, 1, 3], values)
    for options in ({}, {"clipnorm": 0.1}, {"global_clipnorm": 0.1}):
        variable = keras.Variable(table)
        optimizer = Fromage(0.1, **options)
        optimizer.build([variable])
        slices = tf.IndexedSlices(tf.constant(values), tf.constant([1, 1, 3]), tf.constant([4, 3]))
        optimizer.apply([slices], [variable])
        np.testing.assert_allclose(variable.numpy(), reference(table, dense, 0.1), rtol=1e-5)
    accumulating = Fromage(0.1, gradient_accumulation_steps=2)
    variable = keras.Variable(table)
    for _ in range(2):
        accumulating.apply([slices], [variable])
    np.testing.assert_allclose(variable.numpy(), reference(table, dense, 0.1), rtol=1e-5)


def test_accumulation_steps_once_on_the_mean():
    start, gradients = RNG.standard_normal(5), RNG.standard_normal((2, 5))
    variable = keras.Variable(start.astype(np.float32))
    optimizer = Fromage(0.1, gradient_accumulation_steps=2, p_bound=1.0)
    optimizer.build([variable])
    optimizer.apply([tf.constant(gradients[0], tf.float32)])
    np.testing.assert_array_equal(variable.numpy(), start.astype(np.float32))
    optimizer.apply([tf.constant(gradients[1], tf.float32)])
    expected = reference(start, gradients.sum(0), 0.1)
    expected *= min(1.0, np.linalg.norm(start) / np.linalg.norm(expected))
    np.testing.assert_allclose(variable.numpy(), expected, rtol=1e-5)


@pytest.mark.parametrize("options", [{}, {"p_bound": 1.0}, {"granularity": "neuron"}])
def test_two_replicas_equal_one(options):
    starts = [RNG.standard_normal(s) for s in ((3, 4), (4,))]
    gradients = [[RNG.standard_normal(s.shape) for s in starts] for _ in range(3)]

    def run(scope, share):
        with scope.scope():
            variables = [keras.Variable(s.astype(np.float32)) for s in starts]
            optimizer = Fromage(0.1, **options)
            optimizer.build(variables)

        def step(*g):
            optimizer.apply([share * x for x in g], variables)

        run_step = tf.function(lambda *g: scope.run(step, g), autograph=False)
        for g in gradients:
            run_step(*(tf.constant(x, tf.float32) for x in g))
        return variables

    one = run(tf.distribute.get_strategy(), 1.0)
    mirrored = strategy_from_name("mirrored")
    assert mirrored.num_replicas_in_sync == 2
    for single, copies in zip(one, run(mirrored, 0.5)):
        for copy in copies.value.values:
            np.testing.assert_allclose(copy.numpy(), single.numpy(), rtol=1e-5, atol=1e-6)


def test_mixed_precision_with_loss_scaling():
    # Scaled losses change no step: float16 only rounds.
    policy = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy("mixed_float16")
        mixed = fit(Fromage(0.02))
    finally:
        keras.config.set_dtype_policy(policy)
    assert type(mixed.optimizer) is keras.optimizers.LossScaleOptimizer
    plain = fit(Fromage(0.02))
    for a, b in zip(mixed.trainable_variables, plain.trainable_variables, strict=True):
        assert a.dtype == "float32"
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=0.05, err_msg=a.path)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_keeps_the_denominator(dtype):
    # An orthogonal gradient leaves the norm as it is; without the denominator, which rounds to 1,
    # it would grow by 5 % in 1000 steps.
    variable = keras.Variable([3.0, 4.0], dtype=dtype)
    optimizer = Fromage(0.01, weight_decay=None)
    optimizer.build([variable])

    @tf.function
    def step():
        value = optimizer._masters[0].value
        optimizer.apply([tf.stack([value[1], -value[0]])], [variable])

    step()
    for _ in range(999):
        step()
    np.testing.assert_allclose(np.linalg.norm(optimizer._masters[0].numpy()), 5.0, rtol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(np.float64(variable.numpy())), 5.0, rtol=5e-3)


def test_half_precision_follows_float32():
    start, gradients = RNG.standard_normal((4, 3)), RNG.standard_normal((30, 4, 3))
    values = {}
    for dtype in ("float32", "bfloat16"):
        rounded = tf.cast(tf.cast(start, "bfloat16"), dtype)
        variable = keras.Variable(rounded, dtype=dtype)
        optimizer = Fromage(0.01, weight_decay=0.1)
        optimizer.build([variable])
        for g in gradients:
            optimizer.apply([tf.constant(g, dtype)], [variable])
        values[dtype] = variable
    master = optimizer._masters[0].numpy()
    np.testing.assert_allclose(master, values["float32"].numpy(), rtol=0.02, atol=0.01)
    np.testing.assert_array_equal(values["bfloat16"].numpy(), tf.cast(master, "bfloat16").numpy())
    # What is assigned from elsewhere counts.
    values["bfloat16"].assign(tf.ones([4, 3]))
    optimizer.apply([tf.zeros([4, 3], tf.bfloat16)], [values["bfloat16"]])
    expected = (1.0 - 0.01 * 0.1) / np.sqrt(1.0001)
    np.testing.assert_allclose(optimizer._masters[0].numpy(), expected, rtol=1e-6)


SHAPES = {
    "dense/kernel": (4, 3),
    "dense/bias": (3,),
    "embedding/embeddings": (5, 4),
    "conv/kernel": (3, 3, 2, 4),
    "depthwise/depthwise_kernel": (3, 3, 4, 2),
    "attention/query/kernel": (6, 2, 3),
    "attention/query/bias": (2, 3),
    "attention/attention_output/kernel": (2, 3, 6),
}
# Axes that share a norm.
SHARED = {
    "neuron": [(0,), None, (0,), (0, 1, 2), (0, 1), (0, 1), (0,), (0, 1)],
    "row": [(1,), None, (1,), (1, 2, 3), (1, 2, 3), (1, 2), (1,), (1, 2)],
    "head": [None, None, None, None, None, (0, 2), (1,), (1, 2)],
    0: [(1,), (), (1,), (1, 2, 3), (1, 2, 3), (1, 2), (1,), (1, 2)],
}


def named_variables():
    variables = []
    for path, shape in SHAPES.items():
        scopes = path.split("/")
        with contextlib.ExitStack() as stack:
            for scope in scopes[:-1]:
                stack.enter_context(keras.name_scope(scope))
            variables.append(keras.Variable(RNG.standard_normal(shape), name=scopes[-1]))
    assert [v.path for v in variables] == list(SHAPES)
    return variables


@pytest.mark.parametrize("granularity", SHARED)
def test_granularity(granularity):
    variables = named_variables()
    starts = [v.numpy() for v in variables]
    gradients = [RNG.standard_normal(v.shape) for v in variables]
    values = apply(Fromage(0.1, granularity=granularity), variables, gradients)
    for value, w, g, axes in zip(values, starts, gradients, SHARED[granularity], strict=True):
        np.testing.assert_allclose(value, reference(w, g, 0.1, axes), rtol=1e-4, atol=1e-6)


def test_layers_share_norms():
    variables = named_variables()
    starts = [v.numpy() for v in variables]
    gradients = [RNG.standard_normal(v.shape) for v in variables]
    values = apply(Fromage(0.1, granularity="layer", p_bound=0.9), variables, gradients)
    joint = reference(*(np.concatenate([x[0].ravel(), x[1]]) for x in (starts, gradients)), 0.1)
    start = np.sqrt(np.sum(np.square(starts[0])) + np.sum(np.square(starts[1])))
    joint *= min(1.0, 0.9 * start / np.linalg.norm(joint))
    np.testing.assert_allclose(values[0].ravel(), joint[:12], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(values[1], joint[12:], rtol=1e-5, atol=1e-6)


def test_granularity_by_path_and_exclusion():
    variables = named_variables()
    starts = [v.numpy() for v in variables]
    gradients = [RNG.standard_normal(v.shape) for v in variables]
    optimizer = Fromage(
        0.1, granularity={"embeddings$": "row", "conv/": [0, 1]}, exclude=["bias$"], p_bound=0.5
    )
    values = apply(optimizer, variables, gradients)
    for i, axes in ((0, None), (2, (1,)), (3, (2, 3))):
        expected = reference(starts[i], gradients[i], 0.1, axes)
        size = np.sqrt(np.sum(expected**2, axis=axes, keepdims=True))
        cap = 0.5 * np.sqrt(np.sum(starts[i] ** 2, axis=axes, keepdims=True))
        np.testing.assert_allclose(
            values[i], expected * np.minimum(1.0, cap / size), rtol=1e-4, atol=1e-6
        )
    for i in (1, 6):  # biases: plain descent, without bound
        np.testing.assert_allclose(values[i], starts[i] - 0.1 * gradients[i], rtol=1e-5, atol=1e-6)


def test_other_methods_for_other_variables():
    if not hasattr(keras.optimizers, "MultiOptimizer"):
        pytest.skip("this Keras has no MultiOptimizer")
    variables = named_variables()[:2]
    starts = [v.numpy() for v in variables]
    gradients = [RNG.standard_normal(v.shape) for v in variables]
    rules = keras.optimizers.OptimizerMap(Fromage(0.1), {".*bias": keras.optimizers.SGD(0.5)})
    optimizer = keras.optimizers.MultiOptimizer(rules)
    values = apply(optimizer, variables, gradients)
    np.testing.assert_allclose(values[0], reference(starts[0], gradients[0], 0.1), rtol=1e-4)
    np.testing.assert_allclose(values[1], starts[1] - 0.5 * gradients[1], rtol=1e-5)


def test_large_and_small_tensors_and_late_gradients():
    shapes = [(2**14,), (3,), (2**7, 2**7), (2,)]
    starts = [RNG.standard_normal(s) for s in shapes]
    gradients = [RNG.standard_normal(s) for s in shapes]
    variables = [keras.Variable(s.astype(np.float32)) for s in starts]
    optimizer = Fromage(0.1, p_bound=3.0)
    optimizer.build(variables)
    given = [tf.constant(g, tf.float32) for g in gradients[:3]]
    with pytest.warns(UserWarning, match="Gradients do not exist"):
        optimizer.apply([*given, None], variables)
    for variable, w, g in list(zip(variables, starts, gradients))[:3]:
        np.testing.assert_allclose(variable.numpy(), reference(w, g, 0.1), rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(variables[3].numpy(), np.float32(starts[3]))


def test_no_retracing():
    variables = [keras.Variable(RNG.standard_normal(s)) for s in ((4, 3), (2**14,))]
    optimizer = Fromage(0.1, p_bound=2.0)
    optimizer.build(variables)
    step = tf.function(lambda g: optimizer.apply(g, variables), autograph=False)
    for _ in range(3):
        step([tf.random.normal(v.shape) for v in variables])
        optimizer.learning_rate = 0.5 * float(optimizer.learning_rate)
    assert step.experimental_get_tracing_count() == 1


def test_first_steps_of_full_batches_descend():
    # Ten times below the admissible rate 2**(1/3) - 1 of three layers; all but 5 % must fall.
    rng, fell = np.random.default_rng(1), 0
    x, y = rng.standard_normal((32, 6)).astype("f"), rng.standard_normal((32, 2)).astype("f")
    for _ in range(60):
        weights = [
            keras.Variable(rng.standard_normal(s) / np.sqrt(s[0])) for s in ((6, 8), (8, 8), (8, 2))
        ]

        def loss(weights=weights):
            h = tf.nn.relu(tf.nn.relu(x @ weights[0]) @ weights[1])
            return tf.reduce_mean(tf.square(h @ weights[2] - y))

        with tf.GradientTape() as tape:
            before = loss()
        gradients = tape.gradient(before, [w.value for w in weights])
        Fromage((2 ** (1 / 3) - 1) / 10).apply(gradients, weights)
        fell += float(loss()) < float(before)
    assert fell / 60 > 0.95


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"zero_norm": "lars"}, "zero_norm is 'lars'; expected one of sgd, floor, reference"),
        ({"learning_rate": -1.0}, "learning_rate is -1.0; expected at least 0 and finite"),
        ({"learning_rate": math.inf}, "learning_rate is inf; expected at least 0 and finite"),
        ({"norm_floor": 0.1}, "norm_floor has no use"),
        ({"p_bound": -1.0}, "p_bound is -1.0; expected a number of at least 0"),
        ({"p_bound_floor": 1.0}, "p_bound_floor has no use without p_bound"),
        ({"granularity": "channel"}, "granularity is 'channel'; expected one of tensor, layer"),
        ({"granularity": {"kernel": -1}}, "granularity is"),
        ({"exclude": ["("]}, "no regular expression"),
    ],
)
def test_refuses_impossible_options(options, message):
    with pytest.raises(ConfigError, match=message):
        Fromage(**options)


def test_refuses_axes_that_a_variable_lacks():
    with pytest.raises(ConfigError, match=r"keeps axes \(2,\) of kernel, whose shape is \(4, 3\)"):
        Fromage(granularity=2).build([keras.Variable(np.ones((4, 3)), name="kernel")])
