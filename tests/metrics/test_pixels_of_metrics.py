"""One rule of pixel ranges at the door of every metric that takes images."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfgen import metrics
from tfgen.errors import DataError

_RNG = np.random.default_rng(0)
LEVELS = _RNG.integers(0, 256, (20, 8, 8, 3)).astype(np.uint8)
OTHERS = _RNG.integers(0, 200, (20, 8, 8, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def extractor():
    keras.utils.set_random_seed(3)
    layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, activation="relu")]
    return metrics.FeatureExtractor(keras.Sequential(layers))


def fid(extractor, a, b):
    sides = [metrics.feature_statistics(x, extractor, keep_features=0) for x in (a, b)]
    return metrics.compare_samples(*sides)["fid"]


class Constant:
    """A generator under which every image has the density of its own mean."""

    image_shape = (8, 8, 3)

    def log_weights(self, images, seeds):
        return tf.reduce_mean(images, axis=[1, 2, 3])


METRICS = {
    "features": lambda e, a, b: e(b),
    "fid": fid,
    "psnr_db": lambda e, a, b: metrics.psnr_db(a, b),
    "ssim": lambda e, a, b: metrics.ssim(a, b),
    "mean_squared_error": lambda e, a, b: metrics.mean_squared_error(a, b),
    "nearest_neighbours": lambda e, a, b: metrics.nearest_neighbours(a, b)[0],
    "likelihood": lambda e, a, b: metrics.evaluate_likelihood(Constant(), [b], 2)["nll"],
}
# How images come, and back to levels.
FORMS = {
    "uint8": lambda x: x,
    "int64": lambda x: x.astype(np.int64),
    "float32": lambda x: (x / 255).astype(np.float32),
    "float64": lambda x: x / 255,
    "tensor": lambda x: tf.constant(x / 255),
}
WRONG = {
    "0 to 255": (lambda x: x.astype(np.float32), "divide by 255"),
    "-1 to 1": (lambda x: x / 127.5 - 1, r"\(x \+ 1\) / 2"),
    "NaN": (lambda x: np.where(x == x[3, 3, 3, 1], np.nan, x / 255), "NaN or infinite"),
    "16 bits": (lambda x: x.astype(np.uint16) * 257, "pixels from .* to"),
    "text": (lambda x: x.astype(str), "type <U3"),
}


@pytest.mark.parametrize("name", METRICS)
def test_every_form_of_one_image_gives_one_number(extractor, name):
    found = [METRICS[name](extractor, form(LEVELS), form(OTHERS)) for form in FORMS.values()]
    for value in found[1:]:
        np.testing.assert_allclose(value, found[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("case", WRONG)
def test_anything_else_is_refused_in_one_sentence(extractor, name, case):
    change, message = WRONG[case]
    with pytest.raises(DataError, match=message) as caught:
        METRICS[name](extractor, LEVELS, change(OTHERS))
    assert "\n" not in str(caught.value)


def test_psnr_of_bytes_is_that_of_the_peak_255():
    expected = tf.image.psnr(LEVELS, OTHERS, 255)
    np.testing.assert_allclose(metrics.psnr_db(LEVELS, OTHERS), expected, rtol=1e-5)


@pytest.mark.parametrize("metric", [metrics.psnr_db, metrics.ssim, metrics.mean_squared_error])
def test_nothing_is_broadcast(metric):
    a, b = LEVELS / 255, OTHERS / 255
    for other in (b[..., :1], b[:, :4]):
        with pytest.raises(DataError, match=r"reconstructions has shape .*\[B, 8, 8, 3\]"):
            metric(a, other)
    with pytest.raises(DataError, match=r"20 images.*1 reconstruction"):
        metric(a, b[:1])
    with pytest.raises(DataError, match=r"a single image needs images\[None\]"):
        metric(a[0], b[0])


def test_a_dark_batch_is_not_black_and_white(extractor):
    dark = LEVELS.copy()
    dark[:5] = dark[:5] % 2
    expected = metrics.feature_statistics(dark / 255, extractor, batch_size=5)
    found = metrics.feature_statistics(dark, extractor, batch_size=5)
    np.testing.assert_allclose(found.moments.mean, expected.moments.mean, rtol=1e-5)


def test_channels_that_an_extractor_does_not_take(extractor):
    four = np.concatenate([LEVELS, LEVELS[..., :1]], axis=-1)
    with pytest.raises(DataError, match="4 channels; expected 3"):
        extractor(four)
    with pytest.raises(DataError, match="8 channels; expected 3"):
        extractor(LEVELS.transpose(0, 3, 1, 2))
    assert extractor(LEVELS[..., :1]).shape == (20, 4)
