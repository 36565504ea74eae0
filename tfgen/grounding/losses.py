"""InfoNCE: which of several images a word belongs to, and which of several words an image.

Both bound the mutual information of images and words from below: log k minus the loss, for k
candidates the true one included (Gupta et al., arXiv:2006.09920). Losses are in nats.
"""

import math

import tensorflow as tf


def image_contrastive(
    logits: tf.Tensor, word_mask: tf.Tensor, candidates: tf.Tensor | None = None
) -> tf.Tensor:
    """Which image a word belongs to: the negatives are the other images of the batch.

    Args:
        logits: `[B, B, T]` floats, scores of the words of caption c (first axis) with image b;
            image c is the caption's own.
        word_mask: `[B, T]` floats, 1 for words that count.
        candidates: `[B, B]` floats, 1 where image b is a candidate for caption c; None: all are.
            A caption's own always is.

    Returns:
        `[B]` nats, the mean over the words of a caption; 0 for a caption without any.
    """
    own = tf.linalg.diag_part(tf.transpose(logits, [2, 0, 1]))  # [T, B]
    if candidates is not None:
        allowed = tf.maximum(tf.cast(candidates, tf.float32), tf.eye(tf.shape(logits)[0]))
        logits = tf.where(tf.expand_dims(allowed > 0, -1), logits, 0.25 * logits.dtype.min)
    losses = tf.reduce_logsumexp(logits, axis=1) - tf.transpose(own)
    return _mean_over(losses, word_mask)


def word_contrastive(
    logits: tf.Tensor, word_mask: tf.Tensor, candidates: tf.Tensor | None = None
) -> tf.Tensor:
    """Which word belongs to an image: the negatives are the words of other captions (ours).

    The other direction of `image_contrastive`. A word that other captions have as well is its own
    negative there, so that the bound is loose; the paper has the one direction only.

    Args:
        logits: `[B, B, T]` floats, as of `image_contrastive`.
        word_mask: `[B, T]` floats, 1 for words that count.
        candidates: `[B, B]` floats, 1 where the words of caption c are candidates for image b;
            None: all are.

    Returns:
        `[B]` nats, the mean over the words of a caption; 0 for a caption without any.
    """
    others = tf.cast(tf.expand_dims(word_mask, 1), logits.dtype)  # [C, 1, T]
    others *= 1.0 - tf.expand_dims(tf.eye(tf.shape(logits)[0], dtype=logits.dtype), -1)
    if candidates is not None:
        others *= tf.expand_dims(tf.cast(candidates, logits.dtype), -1)
    negatives = tf.where(others > 0, logits, 0.25 * logits.dtype.min)
    negatives = tf.reduce_logsumexp(negatives, axis=[0, 2])  # [B], of every image
    own = tf.transpose(tf.linalg.diag_part(tf.transpose(logits, [2, 0, 1])))  # [B, T]
    losses = tf.nn.softplus(tf.expand_dims(negatives, -1) - own)
    return _mean_over(losses, word_mask)


def language_contrastive(
    logits: tf.Tensor, valid: tf.Tensor, candidates: tf.Tensor | None = None
) -> tf.Tensor:
    """Which word belongs to an image: the negatives are other words in the same context.

    Args:
        logits: `[B, 1 + N]` floats, scores of the true word (first) and of N others with the image.
        valid: `[B]` floats, 1 for captions that have such a word.
        candidates: `[B, 1 + N]` floats, 1 where there is a word; None: everywhere.

    Returns:
        `[B]` nats, 0 where not valid.
    """
    own = logits[:, 0]
    if candidates is not None:
        keep = tf.cast(candidates, logits.dtype) > 0
        keep = tf.concat([tf.ones_like(keep[:, :1]), keep[:, 1:]], axis=1)
        logits = tf.where(keep, logits, 0.25 * logits.dtype.min)
    losses = tf.reduce_logsumexp(logits, axis=1) - own
    return tf.where(tf.cast(valid, logits.dtype) > 0, losses, tf.zeros_like(losses))


def same_image_candidates(image_ids: tf.Tensor) -> tf.Tensor:
    """`[B, B]` floats, 1 where two captions are of different images, and on the diagonal.

    Two captions of one image would be told that the other's copy of it is wrong.

    Args:
        image_ids: `[B]` integers or strings, equal for captions of one image.
    """
    ids = tf.convert_to_tensor(image_ids)
    different = tf.not_equal(tf.expand_dims(ids, 0), tf.expand_dims(ids, 1))
    return tf.maximum(tf.cast(different, tf.float32), tf.eye(tf.shape(ids)[0]))


def bound(loss, num_candidates: int):
    """The lower bound of the mutual information in nats that a mean loss means.

    Args:
        loss: float or tensor, mean of one of the losses here.
        num_candidates: integer k, the true one included, with which the loss was computed: at most
            log k can be shown.

    Returns:
        Like `loss`.
    """
    return math.log(num_candidates) - loss


def mean_over_valid(losses: tf.Tensor, valid: tf.Tensor) -> tf.Tensor:
    """The mean `[]` of `[B]` losses over those that are valid; 0 where none is."""
    valid = tf.cast(valid, losses.dtype)
    return tf.reduce_sum(losses * valid) / tf.maximum(tf.reduce_sum(valid), 1.0)


def _mean_over(losses, mask):
    # A word that does not count may have any loss, an infinite one as well.
    mask = tf.cast(mask, losses.dtype)
    losses = tf.where(mask > 0, losses, tf.zeros_like(losses))
    return tf.reduce_sum(losses, axis=-1) / tf.maximum(tf.reduce_sum(mask, axis=-1), 1.0)
