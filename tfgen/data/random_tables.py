"""Random numbers of a data pipeline: stateless, seeded tables without end.

Row n of the table of a key is the same however many rows are drawn at once. So images, batch sizes
and shards can be counted out in any way.
"""

import hashlib

import numpy as np
import tensorflow as tf

_PHILOX = 1  # The algorithm's number in TensorFlow; a counter of 128 bits yields 4 words at a time.
_WORDS_PER_COUNT = 4
# The default of 4 rounds leaves the orders of successive epochs correlated (0.9 at 60,000 images);
# at 16 no statistic that was tried tells them from random.
_SHUFFLE_ROUNDS = 16
# Up to here sorting random words is faster: the cipher behind the operation walks 65,536 places.
_SORT_LIMIT = 1024


def stream_key(seed: int, *purpose: str) -> int:
    """A 64-bit key for one use of a seed; different purposes give unrelated tables.

    Args:
        seed: integer, the pipeline's seed.
        *purpose: name, and what narrows it down. Those of this library stand in
            `tfgen.ops.random_streams.DATA_NAMES`; a transform of one's own takes another.
    """
    text = "/".join((str(seed), *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little")


def random_rows(key: int, first_row, num_rows, num_words: int) -> tf.Tensor:
    """Rows `first_row`, `first_row + 1`, … of the random table of `key`.

    Args:
        key: integer of `stream_key`.
        first_row: int64 scalar.
        num_rows: integer scalar.
        num_words: integer, width of the table.

    Returns:
        uint32 `[num_rows, num_words]`, uniform.
    """
    counts = -(-num_words // _WORDS_PER_COUNT)
    counter = tf.stack([tf.cast(first_row, tf.int64) * counts, tf.zeros([], tf.int64)])
    words = tf.raw_ops.StatelessRandomUniformFullIntV2(
        shape=tf.stack([num_rows * counts * _WORDS_PER_COUNT]),
        key=tf.constant([key], tf.uint64),
        counter=tf.bitcast(counter, tf.uint64),
        alg=_PHILOX,
        dtype=tf.uint32,
    )
    return tf.reshape(words, [num_rows, counts * _WORDS_PER_COUNT])[:, :num_words]


def shuffled(key: int, epoch, positions, num_images: int) -> tf.Tensor:
    """Which image stands at each position of an epoch: a random permutation, found pointwise.

    Args:
        key: integer of `stream_key`.
        epoch: int64 scalar.
        positions: int64 `[B]` in 0..num_images-1.
        num_images: integer, length of the permutation.

    Returns:
        int64 `[B]`.
    """
    if num_images <= _SORT_LIMIT:
        order = tf.argsort(random_rows(key, epoch, 1, num_images)[0], stable=True)
        return tf.gather(tf.cast(order, tf.int64), positions)
    return tf.raw_ops.RandomIndexShuffle(
        index=positions,
        seed=random_rows(key, epoch, 1, 3)[0],
        max_index=tf.constant(num_images - 1, tf.int64),
        rounds=_SHUFFLE_ROUNDS,
    )


def bernoulli(key: int, first_row, images: tf.Tensor) -> tf.Tensor:
    """Draws every pixel as 1 with the probability of its intensity x / 255.

    Sixteen random bits a pixel: the probability is exact for 0 and 255, else within 2^-16.

    Args:
        key: integer of `stream_key`.
        first_row: int64 scalar; image b of the batch uses row `first_row + b` of the table.
        images: uint8 `[B, H, W, C]`.

    Returns:
        bool, like `images`.
    """
    num_pixels = int(np.prod(images.shape[1:]))
    words = random_rows(key, first_row, tf.shape(images)[0], -(-num_pixels // 2))
    halves = tf.reshape(tf.bitcast(words, tf.uint16), [tf.shape(images)[0], -1])[:, :num_pixels]
    noise = tf.reshape(halves, tf.shape(images))
    return tf.cast(noise, tf.float32) < tf.cast(images, tf.float32) * (65536.0 / 255.0)


def random_crop(key: int, first_row, images: tf.Tensor, padding: int) -> tf.Tensor:
    """Moves each image by up to `padding` pixels each way, with zeros where there was nothing.

    Args:
        key: integer of `stream_key`.
        first_row: int64 scalar, as for `bernoulli`.
        images: `[B, H, W, C]`.
        padding: integer, pixels.
    """
    height, width = images.shape[1:3]
    words = random_rows(key, first_row, tf.shape(images)[0], 2)
    first = tf.cast(words % np.uint32(2 * padding + 1), tf.int32)
    sides = [padding, padding]
    padded = tf.pad(images, [[0, 0], sides, sides, [0, 0]])
    rows = tf.gather(padded, first[:, :1] + tf.range(height), axis=1, batch_dims=1)
    return tf.gather(rows, first[:, 1:] + tf.range(width), axis=2, batch_dims=1)


def random_flip(key: int, first_row, images: tf.Tensor) -> tf.Tensor:
    """Mirrors each image left to right with probability one half.

    Args:
        key: integer of `stream_key`.
        first_row: int64 scalar, as for `bernoulli`.
        images: `[B, H, W, C]`.
    """
    num_images = tf.shape(images)[0]
    mirrored = tf.cast(random_rows(key, first_row, num_images, 1)[:, 0] & np.uint32(1), tf.int32)
    # Whole images are picked from both versions: several times faster than selecting pixels.
    versions = tf.concat([images, tf.reverse(images, [2])], axis=0)
    return tf.gather(versions, tf.range(num_images) + num_images * mirrored)
