"""Sources of any named arrays, and transforms of anyone's making."""

import numpy as np
import pytest
import tensorflow as tf

from tfgen.data import Binarize, Flip, Pipeline, Quantize, Source
from tfgen.data.random_tables import random_rows
from tfgen.errors import ConfigError, DataError


@pytest.fixture
def table(rng):
    """Features of regions and captions of 20 pictures that are not there."""
    return Source(
        "regions",
        "train",
        {
            "features": rng.normal(size=(20, 5, 7)).astype(np.float32),
            "captions": np.array([f"caption {i}" for i in range(20)]),
            "index": np.arange(20, dtype=np.int64),
        },
    )


@pytest.fixture
def pictures(rng):
    return Source("made", "train", {"images": rng.integers(0, 256, (30, 6, 4, 1), np.uint8)})


class Jitter:
    """Adds a number from its own table to the features."""

    def stream(self, split):
        return ("jitter",)

    def __call__(self, batch, key, first_row):
        words = random_rows(key, first_row, tf.shape(batch["features"])[0], 1)
        noise = tf.cast(words >> np.uint32(8), tf.float32) / 2**24
        return batch | {"features": batch["features"] + noise[:, tf.newaxis]}


def test_a_set_without_images(table):
    pipeline = Pipeline(table, 6)
    assert set(pipeline.dataset().element_spec) == {"features", "captions", "index"}
    batch = pipeline.batch(2)
    np.testing.assert_array_equal(batch["features"], table.arrays["features"][batch["index"]])
    assert batch["captions"].numpy()[0].decode() == f"caption {batch['index'][0]}"
    with pytest.raises(DataError, match="'regions' has no images; it has features, captions"):
        table.images  # noqa: B018


def test_parts_keep_every_array(table):
    first, rest = table.split_off(5)
    assert set(first.arrays) == set(rest.arrays) == set(table.arrays)
    for part, length in ((first, 15), (rest, 5), (table.take(3), 3)):
        assert len(part) == length
        index = part.arrays["index"]
        np.testing.assert_array_equal(part.arrays["features"], table.arrays["features"][index])


@pytest.mark.parametrize("arrays", [{}, {"images": np.zeros([3, 2, 2, 1]), "labels": np.arange(2)}])
def test_arrays_of_different_lengths(arrays):
    with pytest.raises(DataError, match=r"'made' has arrays of lengths (none|images 3, labels 2)"):
        Source("made", "train", arrays)


def test_a_transform_draws_by_row_whatever_the_shards(table):
    whole = Pipeline(table, 12, transforms=[Jitter()], training=False)
    parts = [
        Pipeline(table, 4, transforms=[Jitter()], training=False, shard_index=i, num_shards=3)
        for i in range(3)
    ]
    joined = np.concatenate([part.batch(0)["features"] for part in parts])
    np.testing.assert_array_equal(joined, whole.batch(0)["features"])
    assert (joined != table.arrays["features"][:12]).all()
    other = Pipeline(table, 12, transforms=[Jitter()], training=False, seed=1)
    assert (other.batch(0)["features"].numpy() != joined).any()


def test_named_options_are_these_transforms(pictures):
    for options, transforms in (
        (dict(num_bits=5, flip=True), [Flip(), Quantize(5)]),
        (dict(binarize="dynamic", flip=True), [Flip(), Binarize("dynamic")]),
        (dict(binarize="threshold"), [Binarize("threshold")]),
        ({}, []),
    ):
        named = Pipeline(pictures, 8, **options).batch(5)["images"]
        given = Pipeline(pictures, 8, transforms=transforms).batch(5)["images"]
        np.testing.assert_array_equal(named, given)


def test_binarize_wants_intensities(pictures):
    pipeline = Pipeline(pictures, 8, transforms=[Quantize(5), Binarize()])
    with pytest.raises(ConfigError, match="Binarize got images of type float32"):
        pipeline.batch(0)


def test_images_left_as_they_are_become_floats(pictures):
    batch = Pipeline(pictures, 30, transforms=[Flip()]).batch(0)
    assert batch["images"].dtype == tf.float32
    assert float(tf.reduce_max(batch["images"])) == pictures.images.max() / np.float32(255)


def test_what_users_bring_is_brought_to_one_form():
    levels = np.arange(96, dtype=np.uint8).reshape(6, 4, 4) * 2
    classes = np.array([1, 0, 2, 1, 0, 2])
    for images in (levels, levels[..., None], levels / 255, levels.astype(np.int64)):
        for labels in (classes, classes[:, None], np.eye(3)[classes], np.array(list("bacbac"))):
            source = Source("mine", "train", {"images": images, "labels": labels})
            assert source.images.dtype == np.uint8
            np.testing.assert_array_equal(source.images[..., 0], levels)
            np.testing.assert_array_equal(source.labels, classes)
    assert source.class_names == ("a", "b", "c")
    np.testing.assert_array_equal(Source("mine", "train", {"images": levels % 2 == 0}).images, 255)
    with pytest.raises(DataError, match=r"^'mine' holds floating-point pixels from 0 to 190"):
        Source("mine", "train", {"images": levels.astype(np.float32)})


def test_a_dark_part_stays_dark():
    # 0 and 1 are black and white in a whole set, and nearly black in a part of one.
    images = np.zeros((50, 2, 2, 1), np.uint8)
    images[:49, 0, 0], images[49] = 1, 200
    source = Source("mine", "train", {"images": images, "labels": np.arange(50)})
    dark = [part for part in source.split_off(25) if 49 not in part.labels]
    assert [part.images.max() for part in dark] == [1]
