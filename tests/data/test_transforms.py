"""Bit depths, draws, flips and orders against exact and statistical oracles.

Statistical tests are seeded; the stated rate is that of a false alarm for a fresh seed.
"""

import itertools

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfgen.data import Pipeline, Source, quantize
from tfgen.data.random_tables import bernoulli, random_flip, random_rows, shuffled, stream_key
from tfgen.data.transforms import Crop
from tfgen.errors import ConfigError

KEY = stream_key(0, "test")
LEVELS = np.arange(256, dtype=np.uint8)


@pytest.mark.parametrize("bits", range(1, 9))
def test_quantize_against_integers(bits):
    expected = (LEVELS.astype(np.int64) * 2**bits // 256) / np.float64(2**bits - 1)
    np.testing.assert_array_equal(quantize(LEVELS, bits), expected.astype(np.float32))
    np.testing.assert_array_equal(quantize(LEVELS / 255.0, bits), expected.astype(np.float32))


@pytest.mark.parametrize("bits", range(1, 9))
def test_quantizing_again_changes_nothing(bits):
    once = quantize(LEVELS, bits)
    np.testing.assert_array_equal(quantize(once, bits), once)


def test_five_bits_have_32_levels_and_eight_bits_stay():
    levels = np.unique(quantize(LEVELS, 5))
    np.testing.assert_array_equal(levels, np.arange(32, dtype=np.float32) / np.float32(31))
    # Half a bin of the likelihood, 1 / (2^b - 1), in the [-1, 1] scale.
    np.testing.assert_allclose(np.diff(2 * levels - 1) / 2, 1 / 31, rtol=1e-5)
    eight = (LEVELS / np.float32(255)).astype(np.float32)
    np.testing.assert_array_equal(quantize(eight, 8), eight)


@pytest.mark.parametrize("bits", [0, 9, 2.5, None])
def test_quantize_names_a_wrong_bit_depth(bits):
    with pytest.raises(ConfigError, match="num_bits"):
        quantize(LEVELS, bits)


@pytest.mark.parametrize("width", [1, 4, 7])
def test_random_rows_are_rows_of_one_table(width):
    table = random_rows(KEY, 0, 40, width).numpy()
    assert table.shape == (40, width)
    for first, count in ((0, 1), (3, 9), (39, 1)):
        part = random_rows(KEY, first, count, width)
        np.testing.assert_array_equal(part, table[first : first + count])
    assert len(np.unique(table)) == table.size
    assert not np.array_equal(table, random_rows(stream_key(1, "test"), 0, 40, width))


def test_rows_far_out_differ():
    far = random_rows(KEY, 2**40, 2, 4).numpy()
    assert not np.array_equal(far, random_rows(KEY, 0, 2, 4))


def test_draws_have_the_intensity_as_mean():
    # Chi-squared over the 254 levels that are not certain; false alarms 1e-6.
    count = 4000
    images = tf.constant(np.broadcast_to(LEVELS[:, None, None], (count, 256, 1, 1)).copy())
    ones = bernoulli(KEY, 5, images).numpy().sum(axis=0).ravel()
    assert ones[0] == 0
    assert ones[255] == count
    p = np.arange(1, 255) / 255
    statistic = ((ones[1:255] - count * p) ** 2 / (count * p * (1 - p))).sum()
    assert scipy.stats.chi2.sf(statistic, 254) > 1e-6


def test_draws_are_independent_within_and_between_images():
    # Correlations of neighbouring pixels and successive images, each |z| < 5: false alarms 1e-6.
    images = tf.fill([2000, 8, 8, 1], np.uint8(128))
    bits = bernoulli(KEY, 0, images).numpy().reshape(2000, 64).astype(float) - 128 / 255
    for product in (bits[:, 1:] * bits[:, :-1], bits[1:] * bits[:-1]):
        z = product.mean() / (0.25 / np.sqrt(product.size))
        assert abs(z) < 5


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 1), (5, 3, 3)])
def test_draws_do_not_depend_on_the_batch(shape, rng):
    images = tf.constant(rng.integers(0, 256, (10, *shape), np.uint8))
    whole = bernoulli(KEY, 100, images).numpy()
    parts = [bernoulli(KEY, 100 + k, images[k : k + 2]).numpy() for k in range(0, 10, 2)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_flips_mirror_half_of_the_images(rng):
    images = rng.integers(0, 256, (2000, 2, 5, 3), np.uint8)
    flipped = random_flip(KEY, 0, tf.constant(images)).numpy()
    as_was = (flipped == images).all(axis=(1, 2, 3))
    mirrored = (flipped == images[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (as_was | mirrored).all()
    # False alarms 1e-6.
    assert scipy.stats.binomtest(int(mirrored.sum()), 2000, 0.5).pvalue > 1e-6
    np.testing.assert_array_equal(
        random_flip(KEY, 700, tf.constant(images[700:703])), flipped[700:703]
    )


def orders(num_images, num_epochs):
    def order(epoch):
        return shuffled(KEY, epoch, tf.range(num_images, dtype=tf.int64), num_images)

    return tf.function(lambda: tf.map_fn(order, tf.range(num_epochs, dtype=tf.int64)))().numpy()


@pytest.mark.parametrize("num_images", [1, 2, 10, 1024, 1025, 3000])
def test_orders_are_permutations(num_images):
    for order in orders(num_images, 3):
        np.testing.assert_array_equal(np.sort(order), np.arange(num_images))


@pytest.mark.parametrize("num_images", [500, 60_000])
def test_orders_of_successive_epochs_are_unrelated(num_images):
    # Three kinds of correlation for each of 9 epochs, each |z| < 5.5: false alarms 1e-6.
    table = orders(num_images, 10) - (num_images - 1) / 2
    index = np.arange(num_images) - (num_images - 1) / 2
    scale = np.sqrt(num_images) / (num_images**2 / 12) / num_images
    for order, following in itertools.pairwise(table):
        for other in (following, np.roll(order, 1), index):
            assert abs((order * other).sum() * scale) < 5.5


def test_small_orders_are_uniform():
    # All 24 orders of 4 images equally often; false alarms 1e-6.
    table = orders(4, 2400)
    _, counts = np.unique(table, axis=0, return_counts=True)
    assert len(counts) == 24
    assert scipy.stats.chisquare(counts).pvalue > 1e-6


class TestCrop:
    def test_moves_whole_images_and_fills_with_zeros(self):
        images = np.arange(1, 1 + 300 * 12, dtype=np.int32).reshape(300, 4, 3, 1) % 251 + 1
        images = images.astype(np.uint8)
        source = Source("made", "train", {"images": images})
        pipeline = Pipeline(source, 300, crop_padding=1)
        order = Pipeline(source, 300).batch(0)["images"].numpy()
        found = pipeline.batch(0)["images"].numpy()
        seen = set()
        for before, after in zip(order, found):
            padded = np.pad(before, ((1, 1), (1, 1), (0, 0)))
            places = [
                (y, x)
                for y in range(3)
                for x in range(3)
                if np.array_equal(padded[y : y + 4, x : x + 3], after)
            ]
            assert len(places) == 1
            seen.add(places[0])
        assert len(seen) == 9  # one is missing with probability 9 * (8/9)**300 < 1e-14

    def test_evaluation_moves_nothing(self):
        source = Source("made", "test", {"images": np.full((4, 4, 4, 1), 100, np.uint8)})
        found = Pipeline(source, 4, training=False, crop_padding=2).batch(0)["images"]
        np.testing.assert_array_equal(found, np.float32(100) / np.float32(255))

    def test_what_is_no_padding(self):
        with pytest.raises(ConfigError, match="crop_padding is 0"):
            Crop(0)
