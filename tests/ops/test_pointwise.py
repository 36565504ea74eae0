"""Activations, affine maps and gated sums against float64 and their own derivatives."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.ops import pointwise
from tfgen.ops.clusters import on_cpu, pays, portable
from tfgen.ops.pointwise import activate, affine, gated_sum, swish

RNG = np.random.default_rng(0)
SHAPE = (4, 6, 5, 3)


@pytest.fixture(params=[True, False], ids=["cluster", "library"])
def form(request, monkeypatch):
    monkeypatch.setattr(pointwise, "pays", lambda x: request.param)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x.astype(np.float64)))


def bell(x, width):
    return tf.exp(-x * x) * (1.0 + width * width)


# Each case: the function, its NumPy form, and its inputs.
CASES = {
    "swish": (swish, lambda x: x * sigmoid(x), [normal(*SHAPE)]),
    "swish with gain": (
        lambda x: swish(x, 1 / 1.1),
        lambda x: x * sigmoid(x) / 1.1,
        [normal(*SHAPE)],
    ),
    "affine": (affine, lambda x, a, b: x * a + b, [normal(*SHAPE), normal(3), normal(3)]),
    "affine swish": (
        lambda *x: affine(*x, "swish"),
        lambda x, a, b: (x * a + b) * sigmoid(x * a + b),
        [normal(*SHAPE), normal(3), normal(3)],
    ),
    "formula that broadcasts": (
        lambda x, width: pointwise.formula(bell, x, width),
        lambda x, width: np.exp(-x * x) * (1 + width * width),
        [normal(*SHAPE), normal(4, 1, 1, 3)],
    ),
    "gated sum": (
        gated_sum,
        lambda s, b, g: s + b * g,
        [normal(*SHAPE), normal(*SHAPE), normal(4, 1, 1, 3)],
    ),
}


@pytest.mark.usefixtures("form")
@pytest.mark.parametrize("name", CASES)
class TestPointwise:
    def test_values(self, name):
        function, expected, inputs = CASES[name]
        np.testing.assert_allclose(function(*map(tf.constant, inputs)), expected(*inputs), 1e-5)

    def test_gradients_meet_finite_differences(self, name):
        function, expected, inputs = CASES[name]
        tensors, weights = [tf.constant(x) for x in inputs], normal(*SHAPE)
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            total = tf.reduce_sum(function(*tensors) * weights)
        for k, gradient in enumerate(tape.gradient(total, tensors)):
            direction = RNG.standard_normal(inputs[k].shape)

            def shifted(step, k=k, direction=direction):
                moved = [x.astype(np.float64) for x in inputs]
                moved[k] = moved[k] + step * direction
                return np.sum(expected(*moved) * weights)

            slope = (shifted(1e-4) - shifted(-1e-4)) / 2e-4
            assert np.sum(gradient * direction) == pytest.approx(slope, rel=1e-4, abs=1e-3)

    def test_second_derivatives(self, name):
        function, _, inputs = CASES[name]
        results = []
        for form in (lambda x: True, lambda x: False):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(pointwise, "pays", form)
                x, *rest = map(tf.constant, inputs)
                with tf.GradientTape() as outer:
                    outer.watch(x)
                    with tf.GradientTape() as inner:
                        inner.watch(x)
                        y = tf.reduce_sum(function(x, *rest) ** 2)
                    slope = tf.reduce_sum(inner.gradient(y, x) ** 2)
                results.append(outer.gradient(slope, x))
        np.testing.assert_allclose(*results, rtol=1e-4, atol=1e-4)

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_half_precision_stays_half(self, name, dtype):
        function, expected, inputs = CASES[name]
        tensors = [tf.cast(x, dtype) for x in inputs]
        with tf.GradientTape() as tape:
            tape.watch(tensors)
            y = function(*tensors)
        assert {y.dtype, *(g.dtype for g in tape.gradient(y, tensors))} == {tensors[0].dtype}
        rounded = [tf.cast(x, tf.float64).numpy() for x in tensors]
        np.testing.assert_allclose(tf.cast(y, tf.float64), expected(*rounded), rtol=0.03, atol=0.05)


def test_activations():
    x = np.linspace(-4.0, 4.0, 9)
    np.testing.assert_allclose(activate(tf.constant(x), "swish"), x / (1 + np.exp(-x)))
    np.testing.assert_allclose(
        activate(tf.constant(x), "elu"), np.where(x > 0, x, np.expm1(np.minimum(x, 0)))
    )
    np.testing.assert_array_equal(activate(tf.constant(x), None), x)


def operations(graph):
    """Names of all kinds of ops in a graph and in the functions it calls."""
    nodes = [*graph.node, *(n for f in graph.library.function for n in f.node_def)]
    return {node.op for node in nodes}


def test_portable_graphs_hold_no_clusters():
    def slope(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = swish(affine(x, tf.ones(3), tf.zeros(3), "swish"), 0.5)
        return tape.gradient(y, x)

    def trace():
        spec = tf.TensorSpec((64, 16, 16, 3))
        graph = tf.function(slope, autograph=False).get_concrete_function(spec).graph
        return operations(graph.as_graph_def())

    assert any("PartitionedCall" in name for name in trace()) == on_cpu()
    with portable():
        assert not any("PartitionedCall" in name for name in trace())
        assert not pays(tf.zeros((64, 16, 16, 3)))


def test_small_tensors_are_left_to_the_library():
    assert not pays(tf.zeros((2, 4)))
