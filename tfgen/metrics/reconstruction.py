"""How close reconstructions come to their images."""

import math

import tensorflow as tf

_SSIM_WINDOW = 11


def psnr_db(images: tf.Tensor, reconstructions: tf.Tensor) -> tf.Tensor:
    """Peak signal-to-noise ratio in decibel, `[B]`, of `[B, H, W, C]` in [0, 1].

    Infinite for equal images; larger is better.
    """
    error = mean_squared_error(images, reconstructions)
    return -10.0 / math.log(10.0) * tf.math.log(error)


def ssim(images: tf.Tensor, reconstructions: tf.Tensor) -> tf.Tensor:
    """Structural similarity (Wang et al., 2004), `[B]`, of `[B, H, W, C]` in [0, 1]; 1 is equal.

    The Gaussian window has the usual 11 pixels, or as many as fit into a smaller image.
    """
    images, reconstructions = _float32(images), _float32(reconstructions)
    window = min(_SSIM_WINDOW, *images.shape[1:3])
    return tf.image.ssim(images, reconstructions, max_val=1.0, filter_size=window)


def mean_squared_error(images: tf.Tensor, reconstructions: tf.Tensor) -> tf.Tensor:
    """Mean squared error of every image, `[B]`, of `[B, H, W, C]` in [0, 1]."""
    squared = tf.math.squared_difference(_float32(images), _float32(reconstructions))
    return tf.reduce_mean(squared, axis=[1, 2, 3])


def _float32(x: tf.Tensor) -> tf.Tensor:
    return tf.cast(x, tf.float32)
