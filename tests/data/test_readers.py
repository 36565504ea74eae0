"""Names of data sets: where they are looked for, in which order, and what is said when missing."""

import re

import numpy as np
import pytest

from tfgen.data import CATALOGUE, load, readers
from tfgen.errors import ConfigError, DataError, UserError

NAMES = {
    "digits", "mnist", "fashion_mnist", "omniglot", "cifar10", "cifar100", "svhn",
    "imagenet32", "celeba64", "celeba_hq256", "ffhq256", "stacked_mnist",
}  # fmt: skip


def test_the_catalogue_is_that_of_the_papers():
    assert set(CATALOGUE) == NAMES
    for name, info in CATALOGUE.items():
        assert info.licence, name
        assert info.name == name
        assert info.num_images[info.evaluation_split] > 0
        assert info.binary == (info.num_bits == 1)
    assert CATALOGUE["ffhq256"].num_bits == CATALOGUE["celeba_hq256"].num_bits == 5
    assert [name for name in NAMES if CATALOGUE[name].binary] == [
        name for name in NAMES if CATALOGUE[name].image_shape[-1] == 1
    ]


def save_mnist(path, count=3, shape=(28, 28)):
    images = np.full((count, *shape), count, np.uint8)
    np.savez(path, x_train=images, y_train=np.arange(count), x_test=images)


def test_local_files_come_first(tmp_path, no_network):
    save_mnist(tmp_path / "mnist.npz")
    source = load("mnist", "test", tmp_path)
    assert source.path == str(tmp_path / "mnist.npz")
    assert source.images.shape == (3, 28, 28, 1)


def test_the_folder_may_be_named_by_the_environment(tmp_path, monkeypatch, no_network):
    save_mnist(tmp_path / "mnist.npz", 4)
    monkeypatch.setenv("TFGEN_DATA_DIR", str(tmp_path))
    assert len(load("mnist")) == 4
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    save_mnist(elsewhere / "mnist.npz", 5)
    assert len(load("mnist", data_dir=elsewhere)) == 5


@pytest.mark.parametrize("name", sorted(NAMES - {"digits"}))
def test_missing_data_without_a_network_say_where_to_put_them(tmp_path, name, no_network):
    with pytest.raises(DataError) as caught:
        load(name, "train", tmp_path)
    message = str(caught.value)
    file = {"stacked_mnist": "mnist"}.get(name, name)  # what it is made of
    assert re.search(rf"put it at {re.escape(str(tmp_path))}/{file}(\.npz|/)", message)
    assert "--data_dir" in message
    assert "\n" not in message
    assert isinstance(caught.value, UserError)


def test_the_default_folder_is_advised_too(monkeypatch, no_network, tmp_path):
    monkeypatch.delenv("TFGEN_DATA_DIR", raising=False)
    monkeypatch.setattr(readers, "DEFAULT_DATA_DIR", tmp_path / "default")
    with pytest.raises(DataError, match=r"default/mnist\.npz"):
        load("mnist")


def test_a_file_without_the_split_is_mentioned(tmp_path, no_network):
    np.savez(tmp_path / "cifar100_test.npz", x_test=np.zeros([2, 32, 32, 3], np.uint8))
    assert len(load("cifar100", "test", tmp_path)) == 2
    with pytest.raises(DataError, match=r"has no array x_train; .*x_train=images"):
        load("cifar100", "train", tmp_path)


def test_a_damaged_local_file_is_not_passed_over(tmp_path, monkeypatch):
    import keras

    def unexpected():
        raise AssertionError("the damaged file should have been reported first")

    monkeypatch.setattr(keras.datasets.mnist, "load_data", unexpected)
    save_mnist(tmp_path / "mnist.npz")
    whole = (tmp_path / "mnist.npz").read_bytes()
    (tmp_path / "mnist.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"mnist\.npz cannot be read"):
        load("mnist", "train", tmp_path)


def test_images_of_another_shape(tmp_path, no_network):
    save_mnist(tmp_path / "mnist.npz", shape=(32, 32))
    with pytest.raises(DataError, match=r"mnist\.npz has images of shape \(32, 32, 1\).*28, 28, 1"):
        load("mnist", "train", tmp_path)


@pytest.mark.parametrize("name", ["mnst", "npz:", "", "zip:a"])
def test_unknown_names(name):
    with pytest.raises(
        DataError, match=r"there is no data set .*npz:PATH, folder:PATH, .* or tfds:NAME"
    ):
        load(name)


def test_a_close_name_is_suggested():
    with pytest.raises(DataError, match="did you mean 'fashion_mnist'"):
        load("fashion-mnist")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(DataError, match=r"data folder .*absent does not exist"):
        load("mnist", data_dir=tmp_path / "absent")
    with pytest.raises(DataError, match=r"there is no file a\.npz, neither here nor in"):
        load("npz:a.npz", data_dir=tmp_path)


def test_arrays_are_not_resized(tmp_path):
    with pytest.raises(ConfigError, match=r"image_size is .*only folder:, imglist: and tfds:"):
        load("mnist", data_dir=tmp_path, image_size=32)
