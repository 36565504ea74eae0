"""Moments and the Fréchet distance against SciPy and closed forms."""

import numpy as np
import pytest
import scipy.linalg

from tfgen.errors import DataError
from tfgen.metrics import Moments, frechet_distance


def features(shape, seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(shape[1], shape[1]))
    return rng.normal(size=shape) @ mixing + offset


@pytest.mark.parametrize("sizes", [(60,), (1,) * 60, (7, 0, 30, 23)])
def test_merged_moments_are_those_of_the_pool(sizes):
    x = features((60, 5), offset=1e3)
    moments = Moments.empty(5)
    for part in np.split(x, np.cumsum(sizes)[:-1]):
        moments = moments.merge(Moments.of(part) if len(part) else Moments.empty(5))
    assert moments.count == 60
    np.testing.assert_allclose(moments.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(moments.covariance, np.cov(x.T), rtol=1e-9)


def test_averaging_device_covariances_is_not_pooling():
    """Equal shards with different means."""
    shards = features((40, 3)), features((40, 3), seed=1, offset=5.0)
    parts = [Moments.of(s) for s in shards]
    pooled = parts[0].merge(parts[1])
    np.testing.assert_allclose(pooled.covariance, np.cov(np.concatenate(shards).T), rtol=1e-9)
    averaged = sum(p.covariance for p in parts) / 2
    assert np.trace(pooled.covariance) > np.trace(averaged) + 10


@pytest.mark.parametrize("num_samples", [200, 5])
def test_distance_matches_the_matrix_root(num_samples):
    """Five samples in eight dimensions have covariances of rank four."""
    a, b = features((num_samples, 8)), features((num_samples, 8), seed=1, offset=0.3)
    root = scipy.linalg.sqrtm(np.cov(a.T) @ np.cov(b.T) + 0j)
    want = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(
        np.cov(a.T) + np.cov(b.T) - 2 * root.real
    )
    got = frechet_distance(Moments.of(a), Moments.of(b))
    np.testing.assert_allclose(got, want, rtol=1e-6 if num_samples > 8 else 1e-4)
    np.testing.assert_allclose(frechet_distance(Moments.of(b), Moments.of(a)), got, rtol=1e-7)


def test_distance_of_known_normals():
    """Equal axes: |m|^2 + sum (s_a - s_b)^2."""
    scales_a, scales_b = np.array([1.0, 2.0, 0.5]), np.array([1.5, 0.0, 0.5])
    shift = np.array([0.3, -1.0, 2.0])
    a = Moments(101, np.zeros(3), 100 * np.diag(scales_a**2))
    b = Moments(101, shift, 100 * np.diag(scales_b**2))
    want = (shift**2).sum() + ((scales_a - scales_b) ** 2).sum()
    np.testing.assert_allclose(frechet_distance(a, b), want, rtol=1e-9)


def test_distance_to_oneself_is_zero():
    moments = Moments.of(features((50, 20)))
    assert frechet_distance(moments, moments) < 1e-9


def test_unfit_sides_are_refused():
    fine = Moments.of(features((10, 4)))
    with pytest.raises(DataError, match="two images on each side; got 10 and 1"):
        frechet_distance(fine, Moments.of(features((1, 4))))
    with pytest.raises(DataError, match="4 and 3 numbers"):
        frechet_distance(fine, Moments.of(features((10, 3))))
