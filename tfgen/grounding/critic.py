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
    if region_mask is not None:
        region_mask = tf.expand_dims(tf.expand_dims(region_mask, 1), 0)
    return _compared("ctd,bmd->cbtm", queries, word_values, keys, region_values, region_mask)


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
    if region_mask is not None:
        region_mask = tf.expand_dims(region_mask, 1)
    return _compared("bnd,bmd->bnm", queries, word_values, keys, region_values, region_mask)


def attended_values(attention: tf.Tensor, region_values: tf.Tensor) -> tf.Tensor:
    """The regions' values as a word of a set sees them, `[B, N, d]`, of `[B, N, M]` and
    `[B, M, d]`."""
    return tf.einsum("bnm,bmd->bnd", attention, tf.cast(region_values, attention.dtype))


def _compared(equation, queries, word_values, keys, region_values, mask):
    scores = tf.einsum(equation, queries, keys)
    attention = masked_softmax(scores / math.sqrt(queries.shape[-1]), mask)
    products = tf.einsum(equation, word_values, region_values)
    logits = tf.reduce_sum(attention * tf.cast(products, attention.dtype), axis=-1)
    return Critic(logits, attention)
