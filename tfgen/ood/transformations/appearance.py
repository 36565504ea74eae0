"""Transformations that leave pixels where they are and change what they show."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.ood.transformations.base import Transformation, numbers, scaled_to
from tfgen.ops.checks import in_range

# Of the NTSC television system: luma, and two axes of chroma in which hues are angles.
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_HUE = 0.25  # turns of hue at strength one
_SMOOTH = np.array([[1.0, 1.0, 1.0], [1.0, 5.0, 1.0], [1.0, 1.0, 1.0]]) / 13.0


@keras.saving.register_keras_serializable(package="tfgen")
class Blur(Transformation):
    """Gaussian blur.

    Args:
        stddevs: sequence of floats, pixels, the first 0; None is (0, 0.7, 1.4) at a height of 32,
            (0, 2, 4) at 224, and along a power law between and beyond.
        name: string, the name of the task.

    Raises:
        ConfigError: not two or more numbers, or the first is not 0.
    """

    def __init__(self, stddevs: Sequence[float] | None = None, name: str = "blur", **kwargs):
        if stddevs is not None:
            stddevs = numbers("stddevs", stddevs, 0.0)
            in_range("stddevs", stddevs, 0.0)
        super().__init__(range(len(stddevs or "012")), dict(stddevs=stddevs), name, **kwargs)

    def level(self, images, index, seed=None):
        if not index:
            return images
        height = images.shape[1]
        given = self._options["stddevs"]
        stddev = given[index] if given else index * scaled_to(height, 0.7, 2.0)
        return _gaussian(images, stddev)


@keras.saving.register_keras_serializable(package="tfgen")
class Sharpen(Transformation):
    """Further away from a smoothed image: smooth + factor (image - smooth), clipped to [0, 1].

    Args:
        factors: sequence of floats, the first 1. Defaults to `(1.0, 3.0, 6.0)`.
        name: string, the name of the task.

    Raises:
        ConfigError: not two or more numbers, or the first is not 1.
    """

    def __init__(self, factors: Sequence[float] = (1.0, 3.0, 6.0), name: str = "sharpen", **kwargs):
        factors = numbers("factors", factors, 1.0)
        super().__init__(range(len(factors)), dict(factors=factors), name, **kwargs)

    def level(self, images, index, seed=None):
        if not index:
            return images
        smooth = _filtered(images, _SMOOTH)
        return _clipped(smooth + self._options["factors"][index] * (images - smooth))


@keras.saving.register_keras_serializable(package="tfgen")
class ColorJitter(Transformation):
    """Brighter, of more contrast and saturation, and of another hue.

    Of strength s, brightness, contrast and saturation are multiplied by 1 + s one after the other,
    each clipped to [0, 1], and hues turn by s / 4 of a circle. Grey images have no saturation and
    no hue: only the first two change.

    Args:
        strengths: sequence of floats, the first 0. Defaults to `(0.0, 0.4, 0.8)`.
        name: string, the name of the task.

    Raises:
        ConfigError: not two or more numbers from 0 on, or the first is not 0.
    """

    def __init__(
        self, strengths: Sequence[float] = (0.0, 0.4, 0.8), name: str = "color_jitter", **kwargs
    ):
        strengths = numbers("strengths", strengths, 0.0)
        in_range("strengths", strengths, 0.0)
        super().__init__(range(len(strengths)), dict(strengths=strengths), name, **kwargs)

    def level(self, images, index, seed=None):
        if not index:
            return images
        strength = self._options["strengths"][index]
        images = _clipped(images * (1.0 + strength))
        mean = tf.reduce_mean(_grey(images), [1, 2], keepdims=True)
        images = _clipped(mean + (1.0 + strength) * (images - mean))
        if images.shape[-1] != 3:
            return images
        grey = _grey(images)
        images = _clipped(grey + (1.0 + strength) * (images - grey))
        return _clipped(_mixed(images, _hue_turn(_HUE * strength)))


@keras.saving.register_keras_serializable(package="tfgen")
class Noise(Transformation):
    """Gaussian noise, clipped to [0, 1]: a seed draws it anew for every image, without one it is
    one pattern for all, so that what is said of an image depends on that image alone.

    Args:
        stddevs: sequence of floats, the first 0. Defaults to `(0.0, 0.05, 0.1)`.
        name: string, the name of the task.

    Raises:
        ConfigError: not two or more numbers from 0 on, or the first is not 0.
    """

    def __init__(self, stddevs: Sequence[float] = (0.0, 0.05, 0.1), name: str = "noise", **kwargs):
        stddevs = numbers("stddevs", stddevs, 0.0)
        in_range("stddevs", stddevs, 0.0)
        super().__init__(range(len(stddevs)), dict(stddevs=stddevs), name, **kwargs)

    def level(self, images, index, seed=None):
        if not index:
            return images
        if seed is None:
            noise = np.random.default_rng(index).standard_normal(images.shape[1:], np.float32)
        else:
            noise = tf.random.stateless_normal(tf.shape(images), seed, alg="philox")
        return _clipped(images + self._options["stddevs"][index] * noise)


@keras.saving.register_keras_serializable(package="tfgen")
class Cutout(Transformation):
    """One of the four quadrants made black, or none.

    Args:
        name: string, the name of the task.
    """

    def __init__(self, name: str = "cutout", **kwargs):
        super().__init__(range(5), {}, name, **kwargs)

    def check(self, image_shape):
        if min(image_shape[:2]) < 2:
            raise ConfigError(f"{self.name} needs images of at least 2 x 2 pixels")

    def level(self, images, index, seed=None):
        if not index:
            return images
        height, width = images.shape[1:3]
        low, right = divmod(index - 1, 2)
        mask = np.ones((height, width, 1), np.float32)
        rows = slice(height - height // 2, None) if low else slice(height // 2)
        columns = slice(width - width // 2, None) if right else slice(width // 2)
        mask[rows, columns] = 0.0
        return images * mask


def _gaussian(images, stddev):
    """Blurred, with a border that is reflected without repeating the edge."""
    if not stddev:
        return images
    for axis in (1, 2):
        radius = min(int(np.ceil(3.0 * stddev)), images.shape[axis] - 1)
        kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / stddev) ** 2)
        kernel = np.expand_dims(kernel / kernel.sum(), 2 - axis)
        images = _filtered(images, kernel)
    return images


def _filtered(images, kernel):
    """Every channel convolved with one kernel `[h, w]`, as large as before."""
    before = [(size // 2, size // 2) for size in kernel.shape]
    padded = tf.pad(images, [(0, 0), *before, (0, 0)], "REFLECT")
    filters = np.repeat(kernel[:, :, None, None], images.shape[-1], axis=2)
    return tf.nn.depthwise_conv2d(padded, filters.astype(np.float32), [1, 1, 1, 1], "VALID")


def _grey(images):
    if images.shape[-1] != 3:
        return tf.reduce_mean(images, -1, keepdims=True)
    return _mixed(images, _TO_YIQ[:1])


def _mixed(images, matrix):
    """`[B, H, W, C]` times a matrix `[D, C]`: a convolution of one pixel."""
    return tf.nn.conv2d(images, matrix.T[None, None].astype(np.float32), 1, "SAME")


def _hue_turn(turns):
    angle = 2.0 * np.pi * turns
    turn = np.eye(3)
    turn[1:, 1:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return np.linalg.inv(_TO_YIQ) @ turn @ _TO_YIQ


def _clipped(images):
    return tf.clip_by_value(images, 0.0, 1.0)
