"""Nearest training images."""

import numpy as np
import pytest

from tfgen.errors import DataError
from tfgen.metrics import nearest_neighbours


def test_finds_a_copy_and_its_distance():
    rng = np.random.default_rng(0)
    training = rng.integers(0, 256, (30, 28, 28, 1)).astype(np.uint8)
    images = training[[7, 3]] / np.float32(255)
    distances, indices = nearest_neighbours(images, training, num_neighbours=2)
    np.testing.assert_array_equal(indices[:, 0], [7, 3])
    np.testing.assert_allclose(distances[:, 0], 0, atol=1e-2)
    assert np.all(distances[:, 1] > 1)


def test_ignores_the_border():
    training = np.zeros((2, 64, 64, 1), np.float32)
    training[0, :10] = 1.0  # outside of the central 40 pixels
    training[1, 30:34, 30:34] = 1.0
    distances, indices = nearest_neighbours(np.zeros((1, 64, 64, 1), np.float32), training)
    assert indices[0, 0] == 0
    assert distances[0, 0] == 0


def test_other_shapes_are_refused():
    with pytest.raises(DataError, match="cannot be compared"):
        nearest_neighbours(np.zeros((1, 8, 8, 1)), np.zeros((3, 8, 8, 3)))
