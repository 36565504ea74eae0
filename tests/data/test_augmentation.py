"""Random crops and colours, against what each draw says by hand."""

import colorsys

import numpy as np
import pytest
import tensorflow as tf

from tfgen.data import ColourJitter, Pipeline, ResizedCrop, Source
from tfgen.data.augmentation import _uniforms
from tfgen.errors import ConfigError

KEY = 1234


class TestResizedCrop:
    def ramps(self, count, size=64):
        """Images whose two channels are the row and the column."""
        rows, columns = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
        image = np.stack([rows, columns], axis=-1).astype(np.float32)
        return tf.constant(np.repeat(image[None], count, axis=0))

    def test_is_a_part_of_the_image_between_pixels_of_equal_size(self):
        """A ramp is resized exactly: its slope is the side, where it begins the place."""
        found = ResizedCrop(0.08)({"images": self.ramps(800)}, KEY, 0)["images"].numpy()
        lines = [found[:, :, 0, 0], found[:, 0, :, 1]]
        sides, places = [], np.arange(64)
        for line in lines:
            slope = line[:, 32] - line[:, 31]
            side, first = slope * 64, line[:, 31] - 31.5 * slope + 0.5
            np.testing.assert_allclose(side, np.round(side), atol=2e-3)
            np.testing.assert_allclose(first, np.round(first), atol=2e-3)
            assert ((side >= 1) & (first > -0.1) & (first + side < 64.1)).all()
            expected = first[:, None] + (places + 0.5) * side[:, None] / 64 - 0.5
            np.testing.assert_allclose(line, np.clip(expected, 0, 63), atol=5e-3)
            sides.append(side)
        share = sides[0] * sides[1] / 64**2
        # Half of the image or less in 0.457 of the cases; 800 of them, five standard deviations.
        assert np.mean(share < 0.5) == pytest.approx(0.457, abs=5 * 0.0177)
        assert share.min() > 0.06
        ratio = np.log(sides[1] / sides[0])[share < 0.6]
        assert np.abs(ratio).max() < np.log(4 / 3) + 0.1
        assert np.mean(ratio) == pytest.approx(0.0, abs=5 * 0.17 / np.sqrt(len(ratio)))

    def test_rows_are_their_own(self):
        crop, images = ResizedCrop(0.2), self.ramps(6, 8)
        whole = crop({"images": images}, KEY, 10)["images"]
        part = crop({"images": images[2:5]}, KEY, 12)["images"]
        np.testing.assert_array_equal(part, whole[2:5])

    def test_what_is_no_share(self):
        for least in (0.0, 1.5):
            with pytest.raises(ConfigError, match="resized_crop is"):
                ResizedCrop(least)


class TestColourJitter:
    def by_hand(self, image, drawn, strengths):
        """Of one image in float64."""
        brightness, contrast, saturation, hue = (2.0 * drawn - 1.0) * strengths
        image = np.clip(image * (1 + brightness), 0, 1)
        grey = image @ [0.299, 0.587, 0.114]
        image = np.clip((1 + contrast) * image - contrast * grey.mean(), 0, 1)
        grey = image @ [0.299, 0.587, 0.114]
        image = np.clip((1 + saturation) * image - saturation * grey[..., None], 0, 1)
        pixels = [colorsys.rgb_to_hsv(*pixel) for pixel in image.reshape(-1, 3)]
        turned = [colorsys.hsv_to_rgb((h + hue) % 1.0, s, v) for h, s, v in pixels]
        return np.reshape(turned, image.shape)

    def test_against_the_standard_library(self):
        images = np.random.default_rng(0).integers(0, 256, (20, 3, 4, 3), np.uint8)
        strengths = (0.4, 0.3, 0.2, 0.5)
        jitter = ColourJitter(strengths)
        found = jitter({"images": tf.constant(images)}, KEY, 5)["images"].numpy()
        drawn = _uniforms(KEY, 5, 20, 4).numpy().astype(np.float64)
        for image, row, value in zip(images / 255.0, drawn, found):
            np.testing.assert_allclose(value, self.by_hand(image, row, strengths), atol=1e-5)

    def test_of_no_strength_it_changes_nothing(self):
        images = tf.random.stateless_uniform((3, 4, 4, 3), (1, 2))
        found = ColourJitter((0.0, 0.0, 0.0, 0.0))({"images": images}, KEY, 0)["images"]
        np.testing.assert_array_equal(found, images)

    def test_mistakes(self):
        with pytest.raises(ConfigError, match="has 2 strengths; expected four"):
            ColourJitter((0.1, 0.2))
        with pytest.raises(ConfigError, match="colour_jitter of the hue"):
            ColourJitter((0.1, 0.2, 0.1, 0.6))
        with pytest.raises(ConfigError, match="images of 1 channels; expected 3"):
            ColourJitter()({"images": tf.zeros((2, 4, 4, 1))}, KEY, 0)


def test_pipelines_have_them_in_training_alone():
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), np.uint8)
    source = Source("made", "train", {"images": images})
    options = dict(resized_crop=0.3, colour_jitter=(0.4, 0.4, 0.4, 0.2))
    first, again = (Pipeline(source, 3, seed=1, **options).batch(1)["images"] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.shape == (3, 8, 8, 3)
    assert 0.0 <= float(tf.reduce_min(first)) < float(tf.reduce_max(first)) <= 1.0
    still = Pipeline(source, 6, training=False, **options).batch(0)["images"]
    np.testing.assert_array_equal(still, images.astype(np.float32) / np.float32(255))
