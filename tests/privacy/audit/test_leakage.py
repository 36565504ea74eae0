"""Scores of reconstructions, and what may be concluded from them."""

import keras
import numpy as np
import pytest
from tiny import digits, relu_net

from tfgen.errors import DataError
from tfgen.privacy import SharedNetwork
from tfgen.privacy.audit import leakage

RNG = np.random.default_rng(0)
IMAGES = RNG.random((5, 12, 12, 3)).astype(np.float32)


class Backwards(keras.Model):
    """Makes its layers in another order than it calls them in."""

    def __init__(self):
        super().__init__()
        self.last, self.inner = keras.layers.Conv2D(2, 3, name="last"), relu_net()
        self.first = keras.layers.Conv2D(1, 3, padding="same", name="first")

    def call(self, inputs):
        x = self.first(inputs)
        return self.inner(x) + keras.ops.mean(self.last(x), axis=(1, 2, 3))[:, None]


def test_features_are_those_of_the_last_convolution_that_is_called():
    model = Backwards()
    model(digits()[0][:1])
    found = leakage.FeatureDistance(SharedNetwork(model, "mse"))
    names = found.name.partition(": ")[2].split(", ")
    assert (names[0], names[-1]) == ("first", "last")
    assert len(names) == 4


def test_psnr():
    zero = np.zeros((3, 4, 4, 1))
    errors = np.sqrt(np.array([0.01, 0.001, 0.05]))[:, None, None, None]
    found = leakage.psnr_db(zero, zero + errors)
    np.testing.assert_allclose(found, [20, 30, 13.0103], atol=1e-4)
    np.testing.assert_array_equal(leakage.psnr_db(zero, zero), 120)


def test_matching_undoes_permutations():
    order = np.array([3, 0, 4, 1, 2])
    noisy = IMAGES[order] + 0.05 * RNG.standard_normal(IMAGES.shape)
    found = leakage.match(IMAGES, noisy)
    np.testing.assert_array_equal(order[found], np.arange(5))
    more = np.concatenate([RNG.random((3, 12, 12, 3)), noisy])
    np.testing.assert_array_equal(leakage.match(IMAGES, more), found + 3)


def test_registered_psnr_forgives_shifts():
    rolled = np.roll(IMAGES, (2, -3), (1, 2))
    assert leakage.psnr_db(IMAGES, rolled).max() < 12
    np.testing.assert_array_equal(leakage.registered_psnr_db(IMAGES, rolled), 120)


def test_fourier_distance():
    rolled = np.roll(IMAGES, (2, -3), (1, 2))
    np.testing.assert_allclose(leakage.fourier_distance(IMAGES, rolled), 0, atol=1e-12)
    # A constant added changes one of 144 entries, by its size times the root of 144.
    found = leakage.fourier_distance(0.5 * IMAGES, 0.5 * IMAGES + 0.5)
    np.testing.assert_allclose(found, 0.5 * 12 / 144, rtol=1e-6)


def test_relative_leakage():
    images = digits()[0][:4]
    grey = np.full_like(images, 0.5)
    np.testing.assert_allclose(leakage.relative_leakage(images, grey, grey), 0)
    before = leakage.structural_similarity(images, grey)
    want = (1 - before) / np.maximum(np.abs(before), 1e-3)
    np.testing.assert_allclose(leakage.relative_leakage(images, images, grey), want, rtol=1e-4)


SCORES = {
    "psnr_db": leakage.psnr_db,
    "registered_psnr_db": leakage.registered_psnr_db,
    "structural_similarity": leakage.structural_similarity,
    "fourier_distance": leakage.fourier_distance,
    "relative_leakage": lambda a, b: leakage.relative_leakage(a, b, b[::-1]),
}


@pytest.mark.parametrize("name", SCORES)
def test_scores_scale_or_refuse_pixels(name):
    levels, others = (RNG.integers(0, 256, (3, 12, 12, 3)).astype(np.uint8) for _ in range(2))
    expected = SCORES[name](levels / 255, others / 255)
    np.testing.assert_allclose(SCORES[name](levels, others), expected, rtol=1e-4, atol=1e-6)
    with pytest.raises(DataError, match="divide by 255"):
        SCORES[name](levels, others.astype(np.float32))
    with pytest.raises(DataError, match=r"\(x \+ 1\) / 2"):
        SCORES[name](levels / 127.5 - 1, others)


@pytest.mark.parametrize("name", SCORES)
def test_scores_broadcast_nothing(name):
    images = RNG.random((3, 12, 12, 3)).astype(np.float32)
    with pytest.raises(DataError, match="expected one of each image"):
        SCORES[name](images, images[:1])
    with pytest.raises(DataError, match=r"expected \[B, 12, 12, 3\]"):
        SCORES[name](images, images[..., :1])


class TestIdentification:
    def test_slight_noise_identifies_all(self):
        images = digits()[0].reshape(1797, -1)
        noisy = images[:50] + 0.01 * RNG.standard_normal((50, 64))
        ranks = leakage.source_ranks(noisy, images, np.arange(50))
        np.testing.assert_array_equal(ranks, 0)

    def test_noise_identifies_by_chance(self):
        # 2000 images among 20: 5 % hits, standard deviation 0.5 %; five of them on either side.
        pool = RNG.standard_normal((20, 64))
        ranks = leakage.source_ranks(
            RNG.standard_normal((2000, 64)), pool, RNG.integers(0, 20, 2000)
        )
        assert abs(np.mean(ranks == 0) - 0.05) < 0.025
        assert abs(np.mean(ranks) - 9.5) < 5 * np.sqrt((20**2 - 1) / 12 / 2000)

    def test_slots_do_not_matter(self):
        order = RNG.permutation(5)
        noisy = IMAGES[order] + 0.01
        matched = noisy[leakage.match(IMAGES, noisy)].reshape(5, -1)
        ranks = leakage.source_ranks(matched, IMAGES.reshape(5, -1), np.arange(5))
        np.testing.assert_array_equal(ranks, 0)

    @pytest.mark.parametrize("value", [0.0, 0.1, 0.5, 1.0])
    def test_a_grey_picture_is_near_to_nothing(self, value):
        images = digits()[0][:256].reshape(256, -1)
        grey = np.full((4, 64), np.float32(value))
        ranks = leakage.source_ranks(grey, images, np.array([0, 3, 100, 255]))
        np.testing.assert_array_equal(ranks, 255)

    def test_twins_of_the_source_are_ties(self):
        images = digits()[0][:20].reshape(20, -1)
        pool = np.concatenate([images, images[3:4]])
        ranks = leakage.source_ranks(images[2:4], pool, np.array([2, 3]))
        np.testing.assert_array_equal(ranks, [0, 1])


class TestFeatureDistance:
    def test_orders_images(self):
        network = SharedNetwork(relu_net())
        features = leakage.FeatureDistance(network)
        assert "conv2d" in features.name
        images = digits()[0][:6]
        noise = RNG.standard_normal(images.shape)
        np.testing.assert_array_equal(features.distance(images, images), 0)
        near, far = (
            features.distance(images, np.clip(images + scale * noise, 0, 1))
            for scale in (0.05, 0.5)
        )
        assert np.all(near < far)
        assert features.embed(images).shape == (6, 4 * 4 * 32)
        assert all("call" not in vars(layer) for layer in network.model.layers)
