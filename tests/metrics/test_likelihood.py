"""Likelihood metrics on a generator whose evidence is known in closed form."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen import cores
from tfgen.data.subset import shuffled_rows
from tfgen.errors import ConfigError, DataError
from tfgen.metrics import (
    ImportanceWeightedBound,
    MeanWithStandardError,
    bits_per_dim,
    evaluate_likelihood,
)
from tfgen.ops import gaussian, importance


class LinearGaussian:
    """z ~ N(0, 1) and x | z ~ N(z, 1) for every pixel; proposal N(q_slope x, q_scale^2)."""

    def __init__(self, image_shape=(2, 2, 1), q_slope=0.5, q_scale=0.5**0.5):
        self.image_shape = image_shape
        self.q_slope, self.q_scale = q_slope, q_scale
        self.traces = 0

    def _noise(self, seeds):
        shape = [2**16, int(np.prod(self.image_shape))]
        table = np.random.default_rng(7).standard_normal(shape, np.float32)
        return tf.gather(table, seeds % 2**16)

    def log_weights(self, images, seeds):
        self.traces += 1
        x = tf.reshape(images, [tf.shape(images)[0], -1])
        mean = self.q_slope * x
        z = mean + self.q_scale * self._noise(seeds)
        log_joint = gaussian.log_prob(z, 0.0, 1.0) + gaussian.log_prob(x, z, 1.0)
        return tf.reduce_sum(log_joint - gaussian.log_prob(z, mean, self.q_scale), axis=1)

    def negative_elbo(self, images, seeds):
        x = tf.reshape(images, [tf.shape(images)[0], -1])
        scale = tf.fill(tf.shape(x), tf.cast(self.q_scale, tf.float32))
        ones = tf.ones_like(x)
        kl = tf.reduce_sum(gaussian.normal_kl(self.q_slope * x, scale, 0.0 * ones, ones), axis=1)
        return {"kl": kl, "nelbo": kl - self.log_weights(images, seeds)}

    def evidence(self, images):
        """log N(x; 0, 2), summed over pixels."""
        x = images.reshape(len(images), -1).astype(np.float64)
        return (-0.25 * x**2 - 0.5 * np.log(4 * np.pi)).sum(1)


@pytest.fixture
def images():
    return np.random.default_rng(0).uniform(size=(50, 2, 2, 1)).astype(np.float32)


def batches(images, size):
    return [{"images": images[i : i + size]} for i in range(0, len(images), size)]


def test_bits_per_dim():
    assert bits_per_dim(784 * np.log(2), (28, 28, 1)) == pytest.approx(1.0)
    np.testing.assert_allclose(
        bits_per_dim(tf.constant([0.0, 3072.0]), (32, 32, 3)), [0, 1 / np.log(2)], rtol=1e-6
    )


def test_exact_posterior_gives_the_evidence(images):
    generator = LinearGaussian()
    result = evaluate_likelihood(generator, batches(images, 16), num_importance_samples=3)
    want = -generator.evidence(images)
    np.testing.assert_allclose(result["nll"], want.mean(), rtol=1e-6)
    np.testing.assert_allclose(result["nelbo"], want.mean(), rtol=1e-6)
    np.testing.assert_allclose(
        result["nll_standard_error"], want.std(ddof=1) / np.sqrt(50), rtol=1e-4
    )
    np.testing.assert_allclose(result["effective_sample_size"], 3, rtol=1e-4)
    np.testing.assert_allclose(result["bits_per_dim"], bits_per_dim(result["nll"], (2, 2, 1)))
    assert result["num_images"] == 50
    assert result["num_importance_samples"] == 3


def test_poor_proposal_is_bounded_and_tightens(images):
    generator = LinearGaussian(q_slope=0.0, q_scale=1.0)
    nll = [
        evaluate_likelihood(generator, batches(images, 25), k, samples_per_call=10)["nll"]
        for k in (1, 10, 200)
    ]
    truth = -generator.evidence(images).mean()
    assert nll[0] > nll[1] > nll[2] > truth - 0.02
    assert nll[2] - truth < 0.05


def test_kl_is_that_of_the_generator(images):
    generator = LinearGaussian(q_slope=0.0, q_scale=0.5)
    result = evaluate_likelihood(generator, batches(images, 25), 2)
    per_pixel = 0.5 * 0.25 - 0.5 + np.log(2)
    np.testing.assert_allclose(result["kl"], 4 * per_pixel, rtol=1e-5)


def test_batching_changes_nothing_and_one_trace_suffices(images, monkeypatch):
    results = []
    for size, per_call, parts in ((50, 1, 1), (16, 1, 1), (7, 4, 1), (50, 12, 1), (16, 4, 3)):
        monkeypatch.setattr(cores, "parts_at_once", lambda parts=parts: parts)
        generator = LinearGaussian(q_slope=0.1)
        results.append(
            evaluate_likelihood(
                generator, batches(images, size), 12, seed=3, samples_per_call=per_call
            )
        )
        # Once in the loop and once within the fake's own `negative_elbo`.
        assert generator.traces == 2
    for result in results[1:]:
        assert result.keys() == results[0].keys()
        for name, value in result.items():
            np.testing.assert_allclose(value, results[0][name], rtol=1e-5, err_msg=name)
    other = evaluate_likelihood(LinearGaussian(q_slope=0.1), batches(images, 50), 12, seed=4)
    assert other["nll"] != results[0]["nll"]


def test_datasets_of_all_kinds_and_a_limit(images):
    rows = np.sort(shuffled_rows(50, 0)[:20])  # any 20 of them, not the first
    want = evaluate_likelihood(LinearGaussian(), batches(images[rows], 20), 1)
    assert "images" not in want
    kinds = (
        tf.data.Dataset.from_tensor_slices({"images": images}).batch(16),
        tf.data.Dataset.from_tensor_slices((images, np.arange(50))).batch(16),
        [images[:15], images[15:]],
    )
    for dataset in kinds:
        got = evaluate_likelihood(LinearGaussian(), dataset, 1, num_images=20)
        assert got["num_images"] == 20
        assert got["images"] == "a random 20 of 50 images (seed 0)"
        np.testing.assert_allclose(got["nll"], want["nll"], rtol=1e-6)


def test_report_follows_the_progress(images):
    seen = []
    evaluate_likelihood(
        LinearGaussian(), batches(images, 20), 2, report=lambda n, r: seen.append((n, r["nll"]))
    )
    assert [n for n, _ in seen] == [20, 40, 50]
    assert all(np.isfinite(value) for _, value in seen)


def test_folded_weights_are_used(images):
    class Trainable(LinearGaussian):
        def frozen(self):
            return LinearGaussian(self.image_shape)

        def log_weights(self, images, seeds):
            raise AssertionError("the frozen generator has to be asked")

    assert np.isfinite(evaluate_likelihood(Trainable(), batches(images, 50), 1)["nll"])


@pytest.mark.parametrize(
    "kwargs", [{"num_importance_samples": 0}, {"num_images": 0}, {"samples_per_call": -1}]
)
def test_impossible_numbers_are_refused(images, kwargs):
    with pytest.raises(ConfigError, match="at least 1"):
        evaluate_likelihood(LinearGaussian(), batches(images, 50), **kwargs)


def test_bad_data_are_refused(images):
    with pytest.raises(DataError, match="empty"):
        evaluate_likelihood(LinearGaussian(), [])
    with pytest.raises(DataError, match=r"\(2, 2, 1\); the generator makes \(4, 4, 1\)"):
        evaluate_likelihood(LinearGaussian((4, 4, 1)), batches(images, 50))


@pytest.mark.parametrize("sizes", [[100], [1] * 100, [40, 0, 59, 1]])
def test_mean_and_standard_error_whatever_the_batches(sizes):
    values = np.random.default_rng(1).normal(1e6, 1.0, 100)
    metric = MeanWithStandardError("nats")
    for batch in np.split(values, np.cumsum(sizes)[:-1]):
        metric.update_state(batch)
    result = metric.result()
    np.testing.assert_allclose(result["nats"], values.mean(), rtol=1e-14)
    np.testing.assert_allclose(result["nats_standard_error"], values.std(ddof=1) / 10, rtol=1e-8)
    metric.reset_state()
    assert np.isnan(metric.result()["nats"])


def test_masked_images_do_not_count():
    weights = np.random.default_rng(2).normal(-50, 3, (8, 30))
    masked, plain = ImportanceWeightedBound(), ImportanceWeightedBound()
    mask = np.arange(30) < 20
    masked.update_state(weights, sample_weight=mask.astype(np.float32))
    plain.update_state(weights[:, :20])
    for name, value in plain.result().items():
        np.testing.assert_allclose(masked.result()[name], value, rtol=1e-12)


def test_metric_takes_weights_or_their_state():
    weights = np.random.default_rng(3).normal(-50, 3, (8, 30))
    whole, chunked = ImportanceWeightedBound(), ImportanceWeightedBound()
    whole.update_state(weights)
    state = importance.init(30)
    for chunk in np.split(weights, [3, 4]):
        state = importance.update(state, tf.constant(chunk))
    chunked.update_state(state)
    for name, value in whole.result().items():
        np.testing.assert_allclose(chunked.result()[name], value, rtol=1e-12)
    assert whole.result()["nll"] < whole.result()["nelbo"]
    clone = ImportanceWeightedBound.from_config(whole.get_config())
    clone.update_state(weights)
    assert clone.result()["nll"] == whole.result()["nll"]
    clone.reset_state()
    assert np.isnan(clone.result()["nll"])
