"""From a batch of named arrays to features: given with the data, or made by the model's parts."""

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from tfgen.errors import DataError
from tfgen.grounding.batch import (
    Negatives,
    Pairs,
    checked_numbers,
    checked_width,
    drawn_noun,
    negatives_of,
    pairs_of,
    substituted_ids,
)

_NUMBERS = ("token_ids", "negative_ids", "noun_negatives")
_PLACES = ("word_positions", "noun_position", "noun_positions")


class BatchReading:
    """The part of `tfgen.PhraseGrounding` that reads batches.

    It looks at the model's `region_features` and `word_encoder`, which may be None, and at the
    widths of its networks.
    """

    def checked(self, data: Mapping[str, Any]) -> dict[str, Any]:
        """A batch whose numbers of words and places have been looked at, as training reads it.

        Args:
            data: dict of arrays, as the class says.

        Raises:
            DataError: a word that the vocabulary does not have, or a place beyond the caption.
        """
        found = dict(data)
        if self.word_encoder is None or "token_ids" not in data:
            return found
        limits = dict.fromkeys(_NUMBERS, len(self.word_encoder.vocabulary))
        limits |= dict.fromkeys(_PLACES, tf.shape(data["token_ids"])[1])
        for name, limit in limits.items():
            if name in data:
                found[name] = checked_numbers(name, data[name], limit)
        return found

    def pairs(self, data: Mapping[str, Any]) -> Pairs:
        """The images and captions of a batch as features with masks.

        Args:
            data: dict of arrays, as the class says.

        Raises:
            DataError: neither features nor what they could be made of; features of other widths.
        """
        self.build()
        regions, region_mask = self._regions_of(data)
        words, word_mask = self._words_of(data)
        return pairs_of(data, regions, region_mask, words, word_mask)

    def negatives(self, data: Mapping[str, Any], seed=None) -> Negatives | None:
        """The words in the place of a noun of each caption, or None where a batch has none.

        Args:
            data: dict of arrays, as the class says.
            seed: int32 `[2]`, seed of which noun is taken of several; None: the first.
        """
        if "noun_negatives" in data:
            data = {**data, **drawn_noun(data, seed)}
        if self.word_encoder is not None and "negative_ids" in data:
            captions = substituted_ids(
                data["token_ids"], data["negative_ids"], data["noun_position"]
            )
            words = self.word_encoder.at(captions, data["noun_position"])
            mask = tf.cast(tf.not_equal(data["negative_ids"], 0), tf.float32)
            return negatives_of({"negative_mask": mask, **data}, words)
        if "negatives" not in data:
            return None
        words = checked_width("negatives", data["negatives"], self._width("word_query"))
        return negatives_of(data, words)

    def _regions_of(self, data):
        if self.region_features is not None and "regions" not in data:
            if "images" not in data:
                raise DataError(_missing(data, "images", "regions"))
            found = self.region_features(data["images"])
            return found, tf.ones(tf.shape(found)[:2])
        if "regions" not in data:
            raise DataError(_missing(data, "regions"))
        regions = checked_width("regions", data["regions"], self._width("region_key"))
        return regions, data.get("region_mask")

    def _words_of(self, data):
        if self.word_encoder is None or "words" in data:
            if "words" not in data:
                raise DataError(_missing(data, "words"))
            words = checked_width("words", data["words"], self._width("word_query"))
            return words, data.get("word_mask")
        if "token_ids" not in data:
            raise DataError(_missing(data, "token_ids", "words"))
        ids = tf.cast(data["token_ids"], tf.int32)
        words, mask = self.word_encoder(ids), tf.cast(tf.not_equal(ids, 0), tf.float32)
        if "word_positions" in data:
            positions = tf.cast(data["word_positions"], tf.int32)
            words = tf.gather(words, positions, batch_dims=1)
            mask = tf.gather(mask, positions, batch_dims=1)
        return words, mask * tf.cast(data.get("word_mask", 1.0), tf.float32)

    def _width(self, network):
        return self._networks[network].input_dims


def _missing(data, *names) -> str:
    return (
        f"a batch has {', '.join(data) or 'nothing'}; expected {' or '.join(map(repr, names))} "
        "among its arrays (see tfgen.PhraseGrounding)"
    )
