"""Reconstruction errors against their definitions."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.metrics import mean_squared_error, psnr_db, ssim


def pair(size=16, channels=3, noise=0.1):
    rng = np.random.default_rng(0)
    a = rng.uniform(size=(4, size, size, channels)).astype(np.float32)
    b = np.clip(a + rng.normal(0, noise, a.shape), 0, 1).astype(np.float32)
    return a, b


def test_psnr_is_that_of_the_squared_error():
    a, b = pair()
    error = ((a.astype(np.float64) - b) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(mean_squared_error(a, b), error, rtol=1e-5)
    np.testing.assert_allclose(psnr_db(a, b), -10 * np.log10(error), rtol=1e-5)
    np.testing.assert_allclose(psnr_db(a, b), tf.image.psnr(a, b, 1.0), rtol=1e-5)
    assert np.all(np.isposinf(psnr_db(a, a)))


@pytest.mark.parametrize("size", [4, 8, 28])
def test_ssim_ranks_reconstructions_at_any_size(size):
    a, b = pair(size, 1)
    _, worse = pair(size, 1, noise=0.4)
    np.testing.assert_allclose(ssim(a, a), 1.0, rtol=1e-5)
    assert np.all(ssim(a, worse) < ssim(a, b))
    assert np.all(ssim(a, b) < 1.0)


def test_half_precision_is_lifted():
    a, b = (tf.constant(x, tf.float16) for x in pair())
    for metric in (psnr_db, ssim, mean_squared_error):
        assert metric(a, b).dtype == tf.float32
