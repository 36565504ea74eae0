"""Counting modes, with the floor of finite samples."""

import numpy as np
import pytest

from tfgen.errors import DataError
from tfgen.metrics import classify_channels, count_modes, expected_kl


def test_uniform_triples_meet_the_floor():
    labels = np.random.default_rng(0).integers(0, 10, (26_000, 3))
    result = count_modes(labels)
    assert result.modes == result.num_modes == 1000
    assert abs(result.kl - 0.0193) < 0.001
    # Of repeated draws the mean is the floor: standard deviation sqrt(2 * 999) / 2N = 0.00086.
    kls = [count_modes(np.random.default_rng(s).integers(0, 10, (26_000, 3))).kl for s in range(20)]
    assert abs(np.mean(kls) - result.floor) < 4 * 0.00086 / np.sqrt(20)


@pytest.mark.parametrize(
    ("num_samples", "floor"), [(26_000, 0.01934), (25_600, 0.01964), (240_000, 0.00208)]
)
def test_floor(num_samples, floor):
    # (K - 1) / 2N + (K^2 - 1) / 12N^2: the second term is 1.3e-4 at 25,600, not to be left out.
    assert abs(expected_kl(1000, num_samples) - floor) < 1.0e-5


def test_one_mode():
    result = count_modes(np.full([500, 3], 7))
    assert result.modes == 1
    assert result.kl == pytest.approx(np.log(1000))
    assert result.kl == pytest.approx(6.9078, abs=1e-4)


def test_order_of_digits_matters():
    assert count_modes([[1, 2, 3], [3, 2, 1], [1, 2, 3]]).modes == 2


def test_channels_are_classified_by_their_centre():
    images = np.zeros([2, 32, 32, 3])
    images[0, 2:30, 2:30] = [0.1, 0.2, 0.3]
    images[:, 0] = 9.0  # the border does not count
    labels = classify_channels(images, lambda x: np.rint(10 * x.max(axis=(1, 2, 3))).astype(int))
    assert labels.tolist() == [[1, 2, 3], [0, 0, 0]]


@pytest.mark.parametrize("labels", [[], [[10, 0, 0]], [[-1, 0, 0]]])
def test_refuses(labels):
    with pytest.raises(DataError, match="from 0 to 9"):
        count_modes(labels)
