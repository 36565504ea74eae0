"""Bringing images that agree on content but not on place onto each other.

Convolution and pooling leave a gradient nearly blind to position, so seeds of one inversion
restore the same object shifted or mirrored. Their consensus is taken after registration to the
pixel-wise mean (Yin et al., 2021, arXiv:2104.07586, section 3.4). The paper registers with a
learned flow; here it is phase correlation, which finds a translation exactly and needs no network,
of the image and of its mirror image. An image that no shift brings nearer to the target stays as
it is.
"""

import tensorflow as tf


def phase_correlation(images: tf.Tensor, target: tf.Tensor) -> tf.Tensor:
    """Normalised cross-correlation at every cyclic shift.

    Args:
        images: `[N, H, W, C]`.
        target: tensor like `images`.

    Returns:
        `[N, H, W]` in [-1, 1]: entry (i, j) is 1 where `target` is `images` rolled by (i, j); flat
        for an image without structure.
    """
    spectra = [_spectrum(x) for x in (images, target)]
    cross = tf.reduce_sum(tf.math.conj(spectra[0]) * spectra[1], axis=1)
    magnitude = tf.abs(cross)
    structure = magnitude > 1e-12 * tf.reduce_max(magnitude, axis=[1, 2], keepdims=True)
    phase = cross / tf.cast(tf.where(structure, magnitude, tf.ones_like(magnitude)), cross.dtype)
    phase = tf.where(structure, phase, tf.zeros_like(phase))
    return tf.math.real(tf.signal.ifft2d(phase))


def register(images: tf.Tensor, target: tf.Tensor, mirror: bool = True) -> tf.Tensor:
    """Shifts, and where that is better mirrors, every image to its target.

    Args:
        images: `[N, H, W, C]`.
        target: tensor like `images`.
        mirror: whether mirror images are tried too.

    Returns:
        Like `images`; unchanged where nothing comes nearer to the target in squared error.
    """
    candidates = [images, _roll_to(images, target)]
    if mirror:
        candidates.append(_roll_to(tf.reverse(images, [2]), target))
    stacked = tf.stack(candidates)
    error = tf.reduce_mean(tf.square(stacked - target), axis=[2, 3, 4])
    best = tf.argmin(error, axis=0)  # the first of equals: the unchanged image
    return tf.gather(tf.transpose(stacked, [1, 0, 2, 3, 4]), best, batch_dims=1)


def consensus_of(seeds: tf.Tensor, registered: bool = True, mirror: bool = True) -> tf.Tensor:
    """E: the mean over seeds, of the images themselves or of registered ones.

    Args:
        seeds: `[G, K, H, W, C]`.
        registered: whether every seed's images are registered to the plain mean first.
        mirror: whether registration tries mirror images.

    Returns:
        `[K, H, W, C]`.
    """
    mean = tf.reduce_mean(seeds, axis=0)
    if not registered:
        return mean
    shape = tf.shape(seeds)
    flat = tf.reshape(seeds, tf.concat([[-1], shape[2:]], 0))
    moved = register(flat, tf.tile(mean, [shape[0], 1, 1, 1]), mirror)
    return tf.reduce_mean(tf.reshape(moved, shape), axis=0)


def _spectrum(x):
    """`[N, C, H, W]` complex."""
    real = tf.transpose(x, [0, 3, 1, 2])
    return tf.signal.fft2d(tf.complex(real, tf.zeros_like(real)))


def _roll_to(images, target):
    """Every image rolled by the shift at which the phase correlation peaks."""
    height, width = images.shape[1:3]
    correlation = phase_correlation(images, target)
    peak = tf.argmax(tf.reshape(correlation, [-1, height * width]), axis=1, output_type=tf.int32)
    rows = tf.math.floormod(tf.range(height)[None, :] - (peak // width)[:, None], height)
    columns = tf.math.floormod(tf.range(width)[None, :] - (peak % width)[:, None], width)
    rolled = tf.gather(images, rows, axis=1, batch_dims=1)
    return tf.gather(rolled, columns, axis=2, batch_dims=1)
