"""Words by KerasHub's BERT: features of pieces that depend on nothing but their own caption."""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.files.names import shown
from tfgen.files.regular import regular_file
from tfgen.grounding.keras_hub import from_preset
from tfgen.grounding.words.tokens import Tokens, WordPieces, padded_ids

_MULTIPLE = 8  # lengths are rounded up to it, so that few graphs are made


class BertWords:
    """A BERT of KerasHub that is not trained, and the pieces that it reads.

    Padding takes part in nothing: a caption has the same features alone and in any batch. (In the
    published training it does take part; there is no switch for that.)

    Args:
        backbone: a `keras_hub.models.BertBackbone`.
        vocabulary: sequence of strings, its pieces in the order of their numbers.
        lower: whether it was trained on lower case. Defaults to `True`.

    Raises:
        UserError: the vocabulary is not that of the backbone.
    """

    def __init__(self, backbone: Any, vocabulary: Sequence[str], lower: bool = True):
        self.backbone = backbone
        self.pieces = WordPieces(vocabulary, lower)
        if len(self.pieces.vocabulary) != backbone.vocabulary_size:
            raise UserError(
                f"the vocabulary has {len(self.pieces.vocabulary)} pieces, but the backbone "
                f"{backbone.vocabulary_size}; give the file that belongs to its weights"
            )
        self._function = tf.function(self._features, reduce_retracing=True, autograph=False)

    @classmethod
    def from_preset(cls, preset: str | os.PathLike = "bert_base_en_uncased") -> "BertWords":
        """A BERT of a preset.

        Args:
            preset: string, a name that KerasHub fetches, or the path of a folder that
                `save_to_preset` of its backbone and tokenizer wrote. Defaults to
                `"bert_base_en_uncased"`.

        Raises:
            UserError: KerasHub is not installed, or the preset is not to be had.
        """
        backbone = from_preset("BertBackbone", preset)
        tokenizer = from_preset("BertTokenizer", preset)
        return cls(backbone, tokenizer.get_vocabulary(), getattr(tokenizer, "lowercase", True))

    @property
    def dims(self) -> int:
        return self.backbone.hidden_dim

    def features(self, tokens: Sequence[Tokens], batch_size: int = 64) -> list[np.ndarray]:
        """Features of all pieces of captions, float32 `[L, dims]` each, `[CLS]` first.

        Args:
            tokens: sequence of `Tokens`, as `self.pieces` makes them.
            batch_size: integer, captions at a time; changes nothing else. Defaults to `64`.
        """
        longest = self.backbone.max_sequence_length
        found = []
        for start in range(0, len(tokens), batch_size):
            part = tokens[start : start + batch_size]
            length = max(len(caption.ids) for caption in part)
            if length > longest:
                raise UserError(
                    f"a caption has {length} pieces, but the backbone takes {longest}; cut it"
                )
            length = min(longest, -(-length // _MULTIPLE) * _MULTIPLE)
            features = self._function(tf.constant(padded_ids(part, length))).numpy()
            found += [row[: len(caption.ids)] for row, caption in zip(features, part)]
        return found

    def _features(self, ids):
        outputs = self.backbone(inputs_of(ids), training=False)
        return tf.cast(outputs["sequence_output"], tf.float32)


def inputs_of(token_ids) -> dict[str, tf.Tensor]:
    """What KerasHub's BERT takes: token ids `[B, L]`, one segment, and where there is padding."""
    ids = tf.cast(token_ids, tf.int32)
    return {
        "token_ids": ids,
        "segment_ids": tf.zeros_like(ids),
        "padding_mask": tf.cast(tf.not_equal(ids, 0), tf.int32),
    }


def read_vocabulary(path: str | os.PathLike) -> list[str]:
    """The pieces of a `vocab.txt`, one a line.

    Raises:
        UserError: the file cannot be read.
    """
    try:
        text = regular_file(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"the vocabulary cannot be read ({shown(path)}: {reason})") from error
    # Not `splitlines`: some pieces are signs at which it would end a line as well.
    return text.removesuffix("\n").split("\n")
