"""What an evaluation computes beyond the likelihood."""

import types

import numpy as np
import pytest
import tensorflow as tf

from tfgen.runs.evaluation import compare_bounds
from tfgen.runs.evaluators import Partition
from tfgen.samplers import partition_bounds


class Known:
    """Nats that are a function of the image and of its seed."""

    def __init__(self, factor):
        self.factor = factor

    def as_images(self, images):
        return images

    def negative_elbo(self, images, seeds):
        noise = tf.cast(seeds % 97, tf.float32)
        return {"nelbo": self.factor * tf.reduce_sum(images, axis=[1, 2, 3]) + noise}


def test_gain_is_paired_by_image_and_seed():
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(30, 2, 2, 1)).astype(np.float32)
    batches = [{"images": tf.constant(images[k : k + 8])} for k in range(0, 30, 8)]
    found = compare_bounds(Known(3.0), Known(5.0), batches, num_images=20)
    sums = images[:20].sum((1, 2, 3))
    assert found["nelbo_gain"] == pytest.approx(2 * sums.mean(), rel=1e-5)
    # The noise of the seeds, common to both, is not in its error.
    error = 2 * sums.std(ddof=1) / np.sqrt(20)
    assert found["nelbo_gain_standard_error"] == pytest.approx(error, rel=1e-4)
    assert found["base_nelbo_standard_error"] > 2 * error


def test_one_image_has_no_standard_error():
    batches = [{"images": tf.ones((4, 2, 2, 1))}]
    found = compare_bounds(Known(1.0), Known(2.0), batches, num_images=1)
    assert found["nelbo_gain"] == pytest.approx(4.0)
    assert np.isnan(found["nelbo_gain_standard_error"])


class Annealed:
    """A model whose walks had these weights."""

    def __init__(self, forward, backward):
        self.weights = forward, backward

    def estimate_log_partition(self, seed):
        return partition_bounds(*map(tf.constant, self.weights))


def said_of(forward, backward):
    model = Annealed(forward, backward)
    evaluator = Partition()
    subject = types.SimpleNamespace(model=model, served=model, seed=0)
    found = evaluator.measure(subject, {})
    return found, list(evaluator.lines(found))


def test_many_effective_walks_need_no_warning():
    walks = np.random.default_rng(0).normal(size=64) / 4
    found, lines = said_of(walks, -0.03 + walks)
    assert len(lines) == 1
    low, high = found["log_z_interval"]
    assert low < 0.03 < high < low + 0.3


def test_few_effective_walks_are_said_to_be_few():
    walks = np.zeros(64)
    walks[3] = 20.0
    found, lines = said_of(walks, -walks)
    assert found["log_z_sample_size"] < 1.01
    assert "only 1.0 effective walks carry the lower bound and 63.0 the upper" in lines[1]
    assert found["log_z_interval"][0] == pytest.approx(found["log_z_lower"] - 3.0)


def test_bounds_that_cross_are_said_to_cross():
    _, lines = said_of(np.full(64, 5.0), np.full(64, -1.0))
    assert "the bounds cross" in lines[-1]


def test_where_bounds_cross_no_empty_interval_is_said():
    walks = np.zeros(64)
    walks[3] = 40.0
    found, lines = said_of(walks, 30.0 + walks)
    low = found["log_z_lower"] - 3.0
    assert lines[1].endswith(f"log Z is above {low:.1f} in nineteen runs of twenty")
    assert "the bounds cross" in lines[-1]
