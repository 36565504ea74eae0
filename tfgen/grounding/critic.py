"""How well a word fits an image: attention over the image's regions, inside the score itself.

A word asks every region of one image (query times key), and the answers are a distribution over
them. What the word says (its value) is then compared with the regions' values, averaged by that
distribution. The attention is learnt because it makes the score right, and at the end it is the
grounding (Gupta et al., arXiv:2006.09920).

C captions of T words meet B images of M regions in d dimensions. The average of the values would be
`[C, B, T, M, d]` before it is summed, which is never formed: the score is the average of the
products of values instead, the same number.
"""

import math
from typing import NamedTuple

import tensorflow as tf

from tfgen.ops.clusters import cluster, pays


class Critic(NamedTuple):
    """What words and regions have to say to each other.

    Attributes:
        logits: float32 `[C, B, T]` (or `[B, N]` of pairs), the score of a word with an image.
        attention: float32 `[C, B, T, M]` (or `[B, N, M]`), the weights of the regions; they sum to
            one, or to zero where an image has no region.
    """

    logits: tf.Tensor
    attention: tf.Tensor


def masked_softmax(scores: tf.Tensor, mask: tf.Tensor | None) -> tf.Tensor:
    """The softmax over the last axis, zero where the mask is; all zero where nothing is left.

    Args:
        scores: floats `[..., M]`; computed in float32 at least.
        mask: floats or booleans that broadcast to `[..., M]`, 1 where there is something; None:
            everywhere.
    """
    scores = scores if scores.dtype == tf.float64 else tf.cast(scores, tf.float32)
    if mask is None:
        return tf.nn.softmax(scores, axis=-1)
    mask = tf.cast(mask, scores.dtype)
    # The most negative number that leaves room for a difference: an empty row is uniform here, and
    # nothing once it is multiplied.
    weights = tf.nn.softmax(tf.where(mask > 0, scores, 0.25 * scores.dtype.min), axis=-1)
    return weights * mask


def every_pair(queries, word_values, keys, region_values, region_mask=None) -> Critic:
    """Every word of every caption with every image.

    Args:
        queries: `[C, T, d]` of the words.
        word_values: `[C, T, d]`.
        keys: `[B, M, d]` of the regions.
        region_values: `[B, M, d]`.
        region_mask: `[B, M]` floats, 1 where there is a region; None: everywhere.

    Returns:
        A `Critic` of `[C, B, T]` and `[C, B, T, M]`.
    """
    mask = None if region_mask is None else tf.expand_dims(tf.expand_dims(region_mask, 0), 0)
    found = _compared(_products_of_all, queries, word_values, keys, region_values, mask)
    # Where the attention is not asked for, as in training, it is not turned round either.
    return Critic(
        tf.transpose(found.logits, [0, 2, 1]), tf.transpose(found.attention, [0, 2, 1, 3])
    )


def own_pair(queries, word_values, keys, region_values, region_mask=None) -> Critic:
    """Every word of a set with the one image that belongs to the set.

    Args:
        queries: `[B, N, d]` of the words.
        word_values: `[B, N, d]`.
        keys: `[B, M, d]` of the regions.
        region_values: `[B, M, d]`.
        region_mask: `[B, M]` floats, 1 where there is a region; None: everywhere.

    Returns:
        A `Critic` of `[B, N]` and `[B, N, M]`.
    """
    mask = None if region_mask is None else tf.expand_dims(region_mask, 1)
    return _compared(_products, queries, word_values, keys, region_values, mask)


def attended_values(attention: tf.Tensor, region_values: tf.Tensor) -> tf.Tensor:
    """The regions' values as a word of a set sees them, `[B, N, d]`, of `[B, N, M]` and
    `[B, M, d]`."""
    return tf.einsum("bnm,bmd->bnd", attention, tf.cast(region_values, attention.dtype))


def _compared(multiply, queries, word_values, keys, region_values, mask):
    scores = _wide(multiply(queries / math.sqrt(queries.shape[-1]), keys))
    products = _wide(multiply(word_values, region_values))
    if mask is None:
        return Critic(_mean_by_softmax(scores, products), tf.nn.softmax(scores))
    mask = tf.cast(mask, scores.dtype)
    # As `masked_softmax`, but for logits alone, which take no product with the mask.
    far = tf.constant(0.25 * scores.dtype.min, scores.dtype)
    scores += tf.where(mask > 0, tf.zeros_like(far), far)
    logits = _mean_by_softmax(scores, products) * tf.reduce_max(mask, axis=-1)
    return Critic(logits, tf.nn.softmax(scores) * mask)


def _products(words, regions):
    return tf.matmul(words, regions, transpose_b=True)


def _products_of_all(words, regions):
    """`[C, T, B, M]` of `[C, T, d]` and `[B, M, d]`."""
    width, sizes = words.shape[-1], [*tf.unstack(tf.shape(words)[:2])]
    sizes += tf.unstack(tf.shape(regions)[:2])
    flat = (tf.reshape(tensor, [-1, width]) for tensor in (words, regions))
    found = tf.reshape(tf.matmul(*flat, transpose_b=True), sizes)
    return tf.ensure_shape(found, [*words.shape[:2], *regions.shape[:2]])


def _wide(x):
    return x if x.dtype == tf.float64 else tf.cast(x, tf.float32)


@tf.custom_gradient
def _mean_by_softmax(scores, values):
    """The mean of values by the softmax of scores, both `[..., M]`; its gradient takes half of the
    passes over memory that those of softmax, product and sum take."""
    weights = tf.nn.softmax(scores)
    mean = tf.reduce_sum(weights * values, axis=-1)

    def gradient(upstream):
        size = weights.shape.num_elements()
        part = cluster(_slopes, weights.shape) if size and pays(weights) else _slopes
        return part(weights, values, mean, upstream)

    return mean, gradient


def _slopes(weights, values, mean, upstream):
    shares = weights * tf.expand_dims(upstream, -1)
    return shares * (values - tf.expand_dims(mean, -1)), shares
