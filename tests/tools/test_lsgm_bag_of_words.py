"""LSGM on rows of counts: the example runs, and its prior gains on rows that it has not seen."""

import numpy as np
import pytest
import tensorflow as tf
from scripts import script


@pytest.fixture(scope="module")
def example(root):
    with script(root / "tools" / "examples" / "lsgm_bag_of_words.py") as module:
        yield module


def test_decoder_counts_words(example):
    """Rows of a seed are of one length on average, and probabilities of a document add up."""
    vae = example.TopicVAE(dims=2, width=8)
    means = vae.generate({"z": tf.random.stateless_normal((3, 2), (0, 1))}).numpy()
    assert means.shape == (3, 1, example.WORDS, 1)
    np.testing.assert_allclose(means.sum(axis=(1, 2, 3)), vae.typical_length, rtol=1e-5)
    single = np.eye(example.WORDS, dtype=np.float32).reshape(-1, 1, example.WORDS, 1)
    noise = {"z": tf.zeros((example.WORDS, 2))}
    z = tf.zeros((example.WORDS, 2))
    log_px = vae._decoded(z, tf.ones([example.WORDS])).log_prob(single.reshape(-1, example.WORDS))
    np.testing.assert_allclose(tf.reduce_logsumexp(log_px), 0.0, atol=1e-5)
    assert vae.walk_posterior(single, noise).kl.shape == (example.WORDS, 1)


@pytest.mark.slow
def test_runs(example):
    results = example.run(4, 2, held_out=4)
    assert list(results) == ["vae", "vae trained on", "lsgm", "gain"]
    for found in results.values():
        for mean, error in found.values():
            assert np.isfinite(mean)
            assert error > 0.0


@pytest.mark.slow
def test_gains(example):
    """More than chance by far: five standard errors of the difference, row by row."""
    results = example.run()
    mean, error = results["gain"]["nelbo"]
    assert mean > 5.0 * error
