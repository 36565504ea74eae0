"""What an evaluation computes beyond the likelihood."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.runs.evaluation import compare_bounds


class Known:
    """Nats that are a function of the image and of its seed."""

    def __init__(self, factor):
        self.factor = factor

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
