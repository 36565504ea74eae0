"""Images to tell from others, and the means of pairs."""

import numpy as np

from tfgen.runs.detection import load_images, mean_of_pairs


def test_means_are_of_two_different_images():
    images = np.eye(6)[:, :, None, None]
    means = mean_of_pairs(images, seed=3)
    assert means.shape == images.shape
    assert np.all(np.sort(means.reshape(6, 6), axis=1)[:, -2:] == 0.5)


def test_images_are_drawn_at_random_and_named(tmp_path):
    # Of a set sorted by class, the first would be of one class only.
    images = np.repeat(np.arange(10, dtype=np.uint8) * 20, 30)[:, None, None, None]
    np.savez(tmp_path / "sorted.npz", x_test=np.broadcast_to(images, (300, 4, 4, 1)))
    config = {
        "model": {"name": "nvae", "image_shape": (4, 4, 1)},
        "data": {"name": "digits", "split": "train", "num_bits": 8, "binarize": None},
        "evaluation": {"split": "test"},
    }
    found = load_images(config, "npz:sorted.npz", tmp_path, num_images=60, seed=1)
    assert found.pixels.shape == (60, 4, 4, 1)
    assert found.extent == "a random 60 of 300 test images (seed 1)"
    assert len(np.unique(found.pixels)) == 10
