"""A row of random numbers depends on its own seed, in graphs and outside of them."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.ops import seeded_rows as rows

SEEDS = np.array([3, 1, 4, 1], np.int32)


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_is_the_stateless_operator_row_by_row(distribution):
    draw = getattr(tf.random, f"stateless_{distribution}")
    expected = [draw([5], [seed, 7], alg="philox") for seed in SEEDS]
    np.testing.assert_array_equal(rows.seeded_rows(SEEDS, 7, 5, distribution), expected)
    graph = tf.function(lambda s: rows.seeded_rows(s, tf.constant(7), 5, distribution))
    np.testing.assert_array_equal(graph(SEEDS), expected)


def test_eager_calls_share_one_loop():
    traces = []

    def draw(key, size):
        traces.append(size)
        return tf.random.stateless_normal([size], key)

    keys = tf.stack([SEEDS, SEEDS], axis=1)
    for count in (4, 3, 2, 4):
        rows.map_seeds(draw, keys[:count], tf.TensorSpec([6]), 6)
    assert len(traces) <= 2  # one for the first size of a batch, one for any other
