"""Stacked MNIST: what it is made of, and that it is always the same."""

import numpy as np

from tfgen import data
from tfgen.data.stacked import StackedDigits, stack_digits


def digits(count=20):
    """Digit k is the constant k."""
    return np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones([1, 28, 28, 1], np.uint8)


def test_channels_are_digits_zero_padded():
    images, labels = stack_digits(digits(), np.arange(20) % 10)
    assert images.shape == (40, 32, 32, 3)
    some = images[np.array([3, 17])]
    assert some.shape == (2, 32, 32, 3)
    assert some.dtype == np.uint8
    assert not some[:, :2].any()
    assert not some[:, :, 30:].any()
    for image, label in zip(some, labels[[3, 17]]):
        values = image[2:30, 2:30].reshape(-1, 3)
        assert np.all(values == values[0])
        a, b, c = values[0].astype(int) % 10
        assert label == 100 * a + 10 * b + c
    assert images[5].shape == (32, 32, 3)


def test_every_digit_is_in_every_channel_twice():
    images = StackedDigits(digits())
    for channel in images.index.T:
        assert np.bincount(channel).tolist() == [2] * 20
    assert not np.array_equal(images.index[:, 0], images.index[:, 1])
    np.testing.assert_array_equal(StackedDigits(digits()).index, images.index)


def test_slices_stay_lazy():
    images = StackedDigits(digits())
    part = images[5:9]
    assert isinstance(part, StackedDigits)
    np.testing.assert_array_equal(part[np.arange(4)], images[np.arange(5, 9)])


def test_load_makes_it_of_mnist(tmp_path):
    arrays = {"x_train": digits()[..., 0], "y_train": np.arange(20) % 10}
    np.savez(tmp_path / "mnist.npz", **arrays)
    source = data.load("stacked_mnist", data_dir=tmp_path)
    assert len(source) == 40
    assert source.image_shape == (32, 32, 3)
    batch = next(iter(data.Pipeline(source, 8).dataset()))
    assert batch["images"].shape == (8, 32, 32, 3)
