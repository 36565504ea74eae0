"""What an evaluation computes beyond the likelihood."""

import types

import numpy as np
import pytest
import tensorflow as tf

from tfgen.runs.evaluation import compare_bounds, density_variance
from tfgen.runs.evaluators import Likelihood, Partition
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


class Noisy(Known):
    """Log-densities with a variance of what is in the image."""

    def density_variance(self, images, seeds):
        return tf.reduce_mean(images, axis=[1, 2, 3]) + 0.0 * tf.cast(seeds, tf.float32)


@pytest.mark.parametrize("count", [1, 16, 30])
def test_variance_of_densities_over_a_few_images(count):
    images = np.linspace(0.0, 1.0, count, dtype=np.float32).reshape(-1, 1, 1, 1)
    batches = [{"images": tf.constant(images[k : k + 8])} for k in range(0, count, 8)]
    found = density_variance(Noisy(1.0), batches)
    expected = 0.0 if count == 1 else 0.5
    assert found == pytest.approx(expected, abs=1e-6 if count <= 16 else 0.3)


def test_noise_that_makes_a_bound_too_good_is_said():
    found = dict(nll=95.0, bits_per_dim=0.2, num_importance_samples=20, nelbo=98.0, kl=40.0)
    found |= dict(kl_per_group=[40.0], active_units=1, latent_channels=2, num_images=3)
    quiet, noisy = (found | {"nll_noise_gain": gain} for gain in (0.0049, 2.1))
    assert len(list(Likelihood().lines(quiet))) == len(list(Likelihood().lines(found)))
    sentence = "up to 2.10 nats of the NLL may be the noise of the prior's density"
    assert any(line.startswith(sentence) for line in Likelihood().lines(noisy))
    assert f"test: {sentence}" in "\n".join(Likelihood.table({"test": noisy}))
    assert "noise" not in "\n".join(Likelihood.table({"test": found}))


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
