"""How much an estimate of a gradient varies, from one value a step."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.search.unas.variance import RunningVariance


class TestRunningVariance:
    """Against NumPy's."""

    def test_is_unbiased(self):
        """Of 400 observations of variance 1 + 4; the estimate of 0.999's memory has a standard
        deviation of about 0.35, and fails at four of them: probability 6e-5."""
        layer = RunningVariance(2, momentum=0.999)
        rng = np.random.default_rng(0)
        for _ in range(400):
            value, updates = layer.observe([tf.constant(rng.normal([3.0, -1.0], [1.0, 2.0]))])
            for variable, new in updates:
                variable.assign(new)
        assert float(value) == pytest.approx(5.0, abs=1.4)

    def test_of_two_it_is_that_of_two(self):
        layer = RunningVariance(1, momentum=0.5)
        for x in (1.0, 4.0):
            value, updates = layer.observe([tf.constant([x])])
            for variable, new in updates:
                variable.assign(new)
        weights = np.array([1, 2]) / 3
        mean = weights @ [1.0, 4.0]
        expected = weights @ (np.array([1.0, 4.0]) - mean) ** 2 / (1 - (weights**2).sum())
        assert float(value) == pytest.approx(expected, rel=1e-5)
