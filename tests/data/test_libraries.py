"""Sets that libraries hold or fetch, with the libraries' own machinery on small made data."""

import keras
import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from tfgen.data import arrays, libraries, load
from tfgen.errors import DataError


class SmallFaces(tfds.core.GeneratorBasedBuilder):
    """Five images of CelebA's original size with a label."""

    VERSION = tfds.core.Version("1.0.0")
    SHAPE = (218, 178, 3)

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(
                dict(
                    image=tfds.features.Image(shape=self.SHAPE),
                    label=tfds.features.ClassLabel(num_classes=5),
                )
            ),
        )

    def _split_generators(self, manager):
        return {"train": self._generate_examples(5), "validation": self._generate_examples(2)}

    def _generate_examples(self, count):
        for index in range(count):
            yield index, dict(image=pixels(index, self.SHAPE), label=index)


class SmallTables(SmallFaces):
    """No images at all."""

    def _info(self):
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(dict(label=tf.int64))
        )

    def _generate_examples(self, count):
        for index in range(count):
            yield index, dict(label=index)


def pixels(index, shape):
    return np.random.default_rng(index).integers(0, 256, shape, np.uint8)


def test_digits_are_embedded():
    train, test = load("digits"), load("digits", "test")
    assert train.images.shape == (1500, 16, 16, 1)
    assert test.images.shape == (297, 16, 16, 1)
    assert train.images.dtype == np.uint8
    assert train.images.max() == 255
    assert np.bincount(train.labels).min() > 120
    assert np.bincount(test.labels, minlength=10).min() > 15
    np.testing.assert_array_equal(train.images, load("digits").images)
    with pytest.raises(DataError, match="train and test"):
        load("digits", "validation")


def test_digits_splits_share_nothing():
    from sklearn.datasets import load_digits

    originals = np.sort([image.tobytes() for image in load_digits().images])
    doubled = np.concatenate([load("digits").images, load("digits", "test").images])
    assert len(doubled) == len(originals)
    assert len(np.unique(doubled.reshape(1797, -1), axis=0)) == len(np.unique(originals))


def test_keras_sets(tmp_path, monkeypatch, rng):
    train = rng.integers(0, 256, (6, 32, 32, 3), np.uint8), np.arange(6)[:, None]
    test = rng.integers(0, 256, (2, 32, 32, 3), np.uint8), np.arange(2)[:, None]
    monkeypatch.setattr(keras.datasets.cifar100, "load_data", lambda: (train, test))
    source = load("cifar100", "train", tmp_path)
    np.testing.assert_array_equal(source.images, train[0])
    np.testing.assert_array_equal(source.labels, np.arange(6))
    assert len(load("cifar100", "test", tmp_path)) == 2


def test_tfds_sets(tmp_path):
    source = load("tfds:small_faces", "train", tmp_path)
    assert source.images.shape == (5, 218, 178, 3)
    for image, label in zip(source.images, source.labels):
        np.testing.assert_array_equal(image, pixels(label, (218, 178, 3)))
    resized = load("tfds:small_faces", "validation", tmp_path, image_size=32)
    assert resized.images.shape == (2, 32, 32, 3)
    with pytest.raises(DataError, match="no split 'test'; it has train, validation"):
        load("tfds:small_faces", "test", tmp_path)
    with pytest.raises(DataError, match="no feature 'image'; it has label"):
        load("tfds:small_tables", "train", tmp_path)


def test_celeba_from_tfds_has_the_crop_of_the_papers(tmp_path, monkeypatch):
    build = tfds.builder
    monkeypatch.setattr(tfds, "builder", lambda name, **kwargs: build("small_faces", **kwargs))
    source = load("celeba64", "validation", tmp_path)
    assert source.images.shape == (2, 64, 64, 3)
    by_label = dict(zip(source.labels, source.images))
    cut = PIL.Image.fromarray(pixels(1, (218, 178, 3))[40:188, 15:163])
    expected = np.asarray(cut.resize((64, 64), PIL.Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(by_label[1], expected)


def test_large_tfds_sets_are_unpacked_once(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "MEMORY_LIMIT_BYTES", 100)
    build = tfds.builder
    monkeypatch.setattr(tfds, "builder", lambda name, **kwargs: build("small_faces", **kwargs))
    first = load("celeba64", "train", tmp_path)
    assert isinstance(first.images, np.memmap)

    def unexpected(*args, **kwargs):
        raise AssertionError("the unpacked file should have been found")

    monkeypatch.setattr(tfds, "builder", unexpected)
    again = load("celeba64", "train", tmp_path)
    np.testing.assert_array_equal(again.images, first.images)
    np.testing.assert_array_equal(again.labels, first.labels)


def write_records(path, images):
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for image in images:
            feature = dict(
                shape=tf.train.Feature(int64_list=tf.train.Int64List(value=image.shape)),
                data=tf.train.Feature(bytes_list=tf.train.BytesList(value=[image.tobytes()])),
                label=tf.train.Feature(int64_list=tf.train.Int64List(value=[0])),
            )
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString())


def test_records_of_celeba_hq(tmp_path):
    images = [pixels(index, (256, 256, 3)) for index in range(3)]
    folder = tmp_path / "celeba_hq256"
    write_records(folder / "train" / "train-r08-s-0000.tfrecords", images[:2])
    write_records(folder / "train" / "train-r08-s-0001.tfrecords", images[2:])
    write_records(folder / "validation" / "validation-r08-s-0000.tfrecords", images[:1])
    np.testing.assert_array_equal(load("celeba_hq256", "train", tmp_path).images, images)
    assert len(load("celeba_hq256", "test", tmp_path)) == 1


def test_damaged_records(tmp_path):
    path = tmp_path / "celeba_hq256" / "train" / "a.tfrecords"
    write_records(path, [pixels(0, (256, 256, 3))])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"celeba_hq256.*cannot be read as TFRecords"):
        load("celeba_hq256", "train", tmp_path)
    write_records(path, [pixels(0, (128, 128, 3))])
    with pytest.raises(DataError, match=r"shape \(128, 128, 3\); expected \(256, 256, 3\)"):
        load("celeba_hq256", "train", tmp_path)


def test_libraries_that_fail_become_one_sentence(tmp_path, no_network):
    with pytest.raises(
        DataError, match=r"TensorFlow Datasets \(some\) cannot be fetched"
    ) as caught:
        load("tfds:some", "train", tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["cifar10", "mnist:3.0.1", "no_such_set", "huggingface:mnist"])
def test_without_a_network_tfds_is_not_asked(tmp_path, monkeypatch, name):
    def refused(address, timeout):
        raise OSError(f"no route to {address[0]} within {timeout} s")

    def unexpected(*args, **kwargs):
        raise AssertionError("TFDS would try again for minutes")

    monkeypatch.setattr("socket.create_connection", refused)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr(tfds.core.DatasetBuilder, "download_and_prepare", unexpected)
    with pytest.raises(DataError, match=r"cannot be fetched \(no network: .* no route to"):
        load(f"tfds:{name}", "train", tmp_path)


def test_prepared_sets_need_no_network(tmp_path, monkeypatch):
    before = load("tfds:small_faces", "train", tmp_path)
    monkeypatch.setattr(libraries, "_check_network", lambda: 1 / 0)
    monkeypatch.setattr(tfds, "list_builders", list)  # as if nobody had the code any more
    np.testing.assert_array_equal(load("tfds:small_faces", "train", tmp_path).images, before.images)


def test_tfds_missing(tmp_path, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(DataError, match="pip install tensorflow-datasets"):
        libraries.fetch_tfds("some", "train", tmp_path, tmp_path / "a.npy")
