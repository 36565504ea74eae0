"""How close reconstructions come to their images."""

import math

import tensorflow as tf

from tfgen.data.doors import as_images
from tfgen.errors import DataError

_SSIM_WINDOW = 11


def psnr_db(images: tf.Tensor, reconstructions: tf.Tensor) -> tf.Tensor:
    """Peak signal-to-noise ratio in decibel, `[B]`, of `[B, H, W, C]` in [0, 1].

    Infinite for equal images; larger is better. 8-bit pixels are scaled, other ranges refused.

    Args:
        images: tensor `[B, H, W, C]` in [0, 1].
        reconstructions: tensor like `images`.
    """
    error = mean_squared_error(images, reconstructions)
    return -10.0 / math.log(10.0) * tf.math.log(error)


def ssim(images: tf.Tensor, reconstructions: tf.Tensor) -> tf.Tensor:
    """Structural similarity (Wang et al., 2004), `[B]`, of `[B, H, W, C]` in [0, 1]; 1 is equal.

    The Gaussian window has the usual 11 pixels, or as many as fit into a smaller image.

    Args:
        images: tensor `[B, H, W, C]` in [0, 1].
        reconstructions: tensor like `images`.
    """
    images, reconstructions = as_pair(images, reconstructions)
    window = min(_SSIM_WINDOW, *images.shape[1:3])
    return tf.image.ssim(images, reconstructions, max_val=1.0, filter_size=window)


def mean_squared_error(images: tf.Tensor, reconstructions: tf.Tensor) -> tf.Tensor:
    """Mean squared error of every image, `[B]`, of `[B, H, W, C]` in [0, 1].

    Args:
        images: tensor `[B, H, W, C]` in [0, 1].
        reconstructions: tensor like `images`.
    """
    squared = tf.math.squared_difference(*as_pair(images, reconstructions))
    return tf.reduce_mean(squared, axis=[1, 2, 3])


def as_pair(images: tf.Tensor, reconstructions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Both sides as float32 in [0, 1], checked: nothing is broadcast.

    Args:
        images: tensor `[B, H, W, C]` in [0, 1].
        reconstructions: tensor like `images`.

    Raises:
        DataError: another range; not one reconstruction of each image, of its shape.
    """
    images = as_images(images)
    others = as_images(reconstructions, tuple(images.shape[1:]), "the array of reconstructions")
    if not images.shape[:1].is_compatible_with(others.shape[:1]):
        raise DataError(
            f"there are {images.shape[0]} images and {others.shape[0]} reconstructions; expected "
            "one of each image, in the same order"
        )
    return images, others
