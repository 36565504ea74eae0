"""Random crops, mirror images and colours, drawn once an image, before any transformation."""

import tensorflow as tf

from tfgen.ops import random_streams


def augment(
    images: tf.Tensor,
    seed: tf.Tensor,
    padding: int = 0,
    flip: bool = False,
    jitter: float = 0.0,
) -> tf.Tensor:
    """Images shifted at random, mirrored with probability one half, and of other colours.

    Args:
        images: float32 `[B, H, W, C]`.
        seed: int32 `[2]`.
        padding: integer, pixels by which each image moves at most; zeros come in. Defaults to `0`.
        flip: whether to mirror as well. Defaults to `False`.
        jitter: float, below 1, by how much the factors of brightness, of contrast and, with three
            channels, of saturation differ from 1. Defaults to `0.0`.

    Returns:
        float32, like `images`.
    """
    if padding:
        images = _cropped(images, _own(seed, "crop"), padding)
    if flip:
        count = tf.shape(images)[0]
        own = _own(seed, "flip")
        mirrored = tf.random.stateless_uniform([count], own, alg="philox") < 0.5
        versions = tf.concat([images, tf.reverse(images, [2])], axis=0)
        images = tf.gather(versions, tf.range(count) + count * tf.cast(mirrored, tf.int32))
    return _jittered(images, _own(seed, "jitter"), jitter) if jitter else images


def _jittered(images, seed, strength):
    shape = [3, tf.shape(images)[0], 1, 1, 1]
    low, high = 1.0 - strength, 1.0 + strength
    brightness, contrast, saturation = tf.unstack(
        tf.random.stateless_uniform(shape, seed, low, high, alg="philox")
    )
    images = tf.clip_by_value(images * brightness, 0.0, 1.0)
    mean = tf.reduce_mean(images, [1, 2, 3], keepdims=True)
    images = tf.clip_by_value(mean + contrast * (images - mean), 0.0, 1.0)
    if images.shape[-1] != 3:
        return images
    grey = tf.reduce_mean(images, 3, keepdims=True)
    return tf.clip_by_value(grey + saturation * (images - grey), 0.0, 1.0)


def _own(seed, name):
    return random_streams.fold_in(seed, random_streams.hashed(name) % 2**31)


def _cropped(images, seed, padding):
    count, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
    around = [[0, 0], [padding, padding], [padding, padding], [0, 0]]
    starts = tf.random.stateless_uniform(
        [count, 2], seed, maxval=2 * padding + 1, dtype=tf.int32, alg="philox"
    )
    rows = starts[:, :1] + tf.range(height)
    columns = starts[:, 1:] + tf.range(width)
    images = tf.gather(tf.pad(images, around), rows, axis=1, batch_dims=1)
    return tf.gather(images, columns, axis=2, batch_dims=1)
