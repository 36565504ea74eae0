"""The readers on real files; each skipped where its file is missing (see `need_data`)."""

import numpy as np
import pytest
import scipy.stats

from tfgen.data import CATALOGUE, Pipeline, load

FILES = {"omniglot": "omniglot28.npz", "cifar100": "cifar100_test.npz"}


@pytest.mark.parametrize(
    ("name", "split", "count", "classes"),
    [
        ("mnist", "train", 60_000, 10),
        ("mnist", "test", 9_000, 10),
        ("fashion_mnist", "test", 9_000, 10),
        ("omniglot", "train", 24_345, 50),
        ("omniglot", "test", 7_070, 50),
        ("cifar10", "test", 2_000, 10),
        ("cifar100", "test", 2_000, 100),
        ("svhn", "train", 554, 10),
    ],
)
def test_catalogued(need_data, name, split, count, classes):
    source = load(name, split, need_data(FILES.get(name, f"{name}.npz")))
    assert source.images.shape == (count, *CATALOGUE[name].image_shape)
    assert len(np.unique(source.labels)) == classes
    assert source.images.max() == 255


def test_mnist_idx_holds_the_same_images(need_data, tmp_path):
    data_dir = need_data("mnist_idx", "mnist.npz")
    (tmp_path / "mnist").symlink_to(data_dir / "mnist_idx")
    idx, npz = load("mnist", "test", tmp_path), load("mnist", "test", data_dir)
    np.testing.assert_array_equal(idx.images, npz.images)
    np.testing.assert_array_equal(idx.labels, npz.labels)


def test_archives_and_folders(need_data):
    data_dir = need_data("imagenet64.npz", "natural_224")
    assert load("npz:imagenet64.npz", "train", data_dir).images.shape == (792, 64, 64, 3)
    train, test = (load("folder:natural_224", split, data_dir) for split in ("train", "test"))
    assert (train.images.shape, len(test)) == ((60, 224, 224, 3), 10)
    assert load("folder:natural_224", "test", data_dir, image_size=64).image_shape == (64, 64, 3)


def test_the_binarised_test_set_has_the_mean_of_the_intensities(need_data):
    # |z| < 5: false alarms 1e-6.
    source = load("mnist", "test", need_data("mnist.npz"))
    pipeline = Pipeline(source, 1000, training=False, binarize="dynamic")
    total = sum(float(batch["images"].numpy().sum()) for batch in pipeline.dataset())
    p = source.images.astype(np.float64) / 255
    z = (total - p.sum()) / np.sqrt((p * (1 - p)).sum())
    assert scipy.stats.norm.sf(abs(z)) > 1e-6
