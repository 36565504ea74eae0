"""What the model reads of a batch of named arrays, with the masks that are not given."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import tensorflow as tf

from tfgen.errors import DataError


class Pairs(NamedTuple):
    """Images and captions that belong together, as features.

    Attributes:
        regions: `[B, M, D_r]` floats.
        region_mask: `[B, M]` float32, 1 where there is a region.
        words: `[B, T, D_w]` floats.
        word_mask: `[B, T]` float32, 1 where there is a word.
        image_ids: `[B]` integers or strings, equal for captions of one image; or None.
    """

    regions: tf.Tensor
    region_mask: tf.Tensor
    words: tf.Tensor
    word_mask: tf.Tensor
    image_ids: tf.Tensor | None


class Negatives(NamedTuple):
    """Words in the place of one noun of each caption.

    Attributes:
        words: `[B, 1 + N, D_w]` floats, the true noun first.
        mask: `[B, 1 + N]` float32, 1 where there is a word.
        valid: `[B]` float32, 1 for captions that have such a noun.
    """

    words: tf.Tensor
    mask: tf.Tensor
    valid: tf.Tensor


def pairs_of(data: Mapping[str, Any], regions, region_mask, words, word_mask) -> Pairs:
    """Features with masks: rows that are zero throughout are padding where no mask is given."""
    return Pairs(
        regions,
        _mask(region_mask, regions),
        words,
        _mask(word_mask, words),
        data.get("image_ids"),
    )


def negatives_of(data: Mapping[str, Any], words: tf.Tensor) -> Negatives:
    """Features of negatives with masks: `negative_mask` and `noun_valid`, else by zero rows."""
    mask = _mask(data.get("negative_mask"), words)
    valid = data.get("noun_valid")
    # A caption needs its own noun and one more for a choice.
    possible = mask[:, 0] * tf.cast(tf.reduce_sum(mask, axis=1) > 1.0, tf.float32)
    if valid is not None:
        possible *= tf.reshape(tf.cast(valid, tf.float32), [-1])
    return Negatives(words, mask, possible)


def checked_width(name: str, features, width: int) -> tf.Tensor:
    """Features of three axes and a given width, floating point.

    Raises:
        DataError: they are not.
    """
    features = tf.convert_to_tensor(features)
    if not features.dtype.is_floating:
        features = tf.cast(features, tf.float32)
    if features.shape.rank != 3 or features.shape[-1] != width:
        raise DataError(
            f"{name} has shape {tuple(features.shape)}; expected [B, number, {width}], the width "
            "that the model was made for"
        )
    return features


def substituted_ids(token_ids, negative_ids, position) -> tf.Tensor:
    """Captions with one token replaced, int32 `[B, 1 + N, L]`.

    Args:
        token_ids: `[B, L]` integers.
        negative_ids: `[B, 1 + N]` integers, what takes its place; the first is the true one.
        position: `[B]` integers, which token.
    """
    token_ids, negative_ids = tf.cast(token_ids, tf.int32), tf.cast(negative_ids, tf.int32)
    length = token_ids.shape[1] or tf.shape(token_ids)[1]
    here = tf.equal(tf.range(length), tf.expand_dims(tf.cast(position, tf.int32), -1))
    return tf.where(
        tf.expand_dims(here, 1), tf.expand_dims(negative_ids, -1), tf.expand_dims(token_ids, 1)
    )


def checked_numbers(name: str, numbers, limit) -> tf.Tensor:
    """Integers that are 0 or more and below a limit.

    Args:
        name: string, what they are called, for the message.
        numbers: integers of any shape.
        limit: integer or integer tensor.

    Raises:
        DataError: some are not; within a graph an assertion of which `tfgen.errors` makes one.
    """
    numbers = tf.cast(numbers, tf.int32)
    low, high = tf.reduce_min(numbers), tf.reduce_max(numbers)
    good = (low >= 0) & (high < limit) | tf.equal(tf.size(numbers), 0)
    if tf.executing_eagerly():
        if not good:
            raise DataError(_out_of_range(name, int(low), int(high), int(limit)))
        return numbers
    sentence = _out_of_range("%s", "%s", "%s", "%s").split("%s")
    values = [name, *map(tf.strings.as_string, (low, high, limit))]
    parts = [part for pair in zip(sentence, [*values, ""]) for part in pair]
    assertion = tf.debugging.Assert(good, [tf.strings.join([f"{DataError.__name__}: ", *parts])])
    with tf.control_dependencies([assertion]):
        return tf.identity(numbers)


def _out_of_range(name, low, high, limit) -> str:
    return f"{name} has numbers from {low} to {high}; expected 0 or more, and below {limit}"


def drawn_noun(data: Mapping[str, Any], seed=None) -> dict[str, tf.Tensor]:
    """One of several nouns of each caption.

    Args:
        data: dict with `noun_negatives` `[B, K, 1 + N]`, `noun_positions` `[B, K]` and `noun_count`
            `[B]`.
        seed: int32 `[2]` of the draw; None takes the first noun.

    Returns:
        `negative_ids` `[B, 1 + N]`, `noun_position` `[B]` and `noun_valid` `[B]`, in a dict.
    """
    count = tf.cast(data["noun_count"], tf.int32)
    chosen = tf.zeros_like(count)
    if seed is not None:
        draws = tf.random.stateless_uniform(tf.shape(count), seed)
        below = tf.maximum(count - 1, 0)
        chosen = tf.minimum(tf.cast(draws * tf.cast(count, tf.float32), tf.int32), below)
    return {
        "negative_ids": tf.gather(data["noun_negatives"], chosen, batch_dims=1),
        "noun_position": tf.gather(data["noun_positions"], chosen, batch_dims=1),
        "noun_valid": tf.cast(count > 0, tf.float32),
    }


def _mask(mask, features):
    if mask is None:
        return tf.cast(tf.reduce_any(tf.not_equal(features, 0), axis=-1), tf.float32)
    return tf.cast(mask, tf.float32)
