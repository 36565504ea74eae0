"""Norms of many tensors at once are numpy's, of any size, order and scale."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.ops.norms import inner_products, norm, norms

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("size", [7, 2**14 + 1])
@pytest.mark.parametrize("scale", [1e-30, 1e-12, 1.0, 1e12, 1e30])
def test_norms_against_numpy(size, scale):
    x, y = (RNG.standard_normal((2, size)) * scale).astype(np.float32)
    tensors = [tf.constant(v) for v in (x, y, x[:5], y)]
    expected = [np.linalg.norm(np.float64(t.numpy())) for t in tensors]
    np.testing.assert_allclose(norms(tensors), expected, rtol=1e-6)
    np.testing.assert_allclose(norm(tensors[0]), expected[:1], rtol=1e-12)
    inner = inner_products(tensors[:2], [tensors[1], tensors[1]])
    exact = [np.vdot(np.float64(a), np.float64(y)) for a in (x, y)]
    np.testing.assert_allclose(inner, exact, rtol=1e-4, atol=1e-6 * abs(exact[1]))


def test_norms_of_many_shapes_keep_their_order_and_share_operations():
    shapes = [(3, 2), (), (2, 3), (2**14,), (3, 2), (0, 4), (), (2**14 + 1,), (2, 3)]
    xs, ys = ([RNG.standard_normal(s).astype(np.float32) for s in shapes] for _ in range(2))
    xs[4], ys[4] = np.float64(xs[4]), np.float64(ys[4])
    exact = [np.vdot(np.float64(x), np.float64(y)) for x, y in zip(xs, ys)]
    xs, ys = ([tf.constant(v) for v in values] for values in (xs, ys))
    np.testing.assert_allclose(inner_products(xs, ys), exact, rtol=1e-4, atol=1e-4)
    exact = [np.linalg.norm(np.float64(x.numpy())) for x in xs]
    np.testing.assert_allclose(norms(xs), exact, rtol=1e-6)

    def operations(tensors):
        graph = tf.function(norms, autograph=False).get_concrete_function(tensors).graph
        return sum(op.type != "Placeholder" for op in graph.get_operations())

    small = [x for x in xs if x.shape.num_elements() < 2**14]
    assert operations(9 * small) == operations(2 * small)
