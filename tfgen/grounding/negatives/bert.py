"""Negatives by KerasHub's BERT, once its head has shown that it is trained.

Presets hold the backbone alone, and a head with the initial weights of a layer predicts nonsense
that looks like any other words. So the head's five arrays come from a file of the original model,
and nothing is proposed before a sentence whose ending everybody knows is completed rightly.
"""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from tfgen.errors import CheckpointError
from tfgen.files.names import shown
from tfgen.files.regular import regular_file
from tfgen.grounding.keras_hub import keras_hub
from tfgen.grounding.words.bert import BertWords, inputs_of
from tfgen.grounding.words.tokens import MASK

PROBE = ("the capital of france is [MASK] .", "paris")
_PREFIX = "cls.predictions."
_NAMES = {  # by the end of our variable's path
    "intermediate_dense/kernel": "transform.dense.weight",
    "intermediate_dense/bias": "transform.dense.bias",
    "intermediate_layer_norm/gamma": "transform.LayerNorm.weight",
    "intermediate_layer_norm/beta": "transform.LayerNorm.bias",
    "output_bias": "bias",
}
_OLD = {  # as the first files called them
    "transform.LayerNorm.weight": "transform.LayerNorm.gamma",
    "transform.LayerNorm.bias": "transform.LayerNorm.beta",
}


class BertMaskedLM:
    """A BERT with its verified masked-language-model head, as `propose_negatives` takes it.

    Args:
        words: the `BertWords` whose backbone it is.
        head_weights: path of a safetensors file with the original model's head, such as
            `model.safetensors` of bert-base-uncased.
        probe: pair of a sentence with one `[MASK]` and the word that has to be likeliest there.
            Defaults to `("the capital of france is [MASK] .", "paris")`.

    Raises:
        CheckpointError: the file lacks a weight of the head, or the sentence is completed wrongly.
    """

    def __init__(
        self,
        words: BertWords,
        head_weights: str | os.PathLike,
        probe: tuple[str, str] = PROBE,
    ):
        self.words = words
        self.head = keras_hub().layers.MaskedLMHead(
            token_embedding=words.backbone.token_embedding,
            intermediate_activation="gelu",
            layer_norm_epsilon=1e-12,
        )
        self.head.build((None, None, words.dims))
        load_head(self.head, Path(head_weights))
        self._function = tf.function(self._logits, reduce_retracing=True, autograph=False)
        self._verify(*probe)

    def __call__(self, token_ids) -> np.ndarray:
        """Logits float32 `[B, L, V]` of token ids `[B, L]`."""
        return self._function(tf.constant(token_ids, tf.int32)).numpy()

    def _logits(self, token_ids):
        features = self.words.backbone(inputs_of(token_ids), training=False)["sequence_output"]
        places = tf.broadcast_to(tf.range(tf.shape(token_ids)[1]), tf.shape(token_ids))
        return tf.cast(self.head(features, mask_positions=places), tf.float32)

    def _verify(self, sentence: str, expected: str) -> None:
        before, _, after = sentence.partition(MASK)
        pieces = self.words.pieces
        start, end = pieces(before), pieces(after)
        ids = [*start.ids[:-1], pieces.number(MASK), *end.ids[1:]]
        logits = self(np.asarray([ids], np.int32))[0, len(start.ids) - 1]
        found = pieces.vocabulary[int(np.argmax(logits))]
        if found != expected:
            raise CheckpointError(
                f"the language model completes {sentence!r} by {found!r} instead of {expected!r}: "
                "its head is not trained, or belongs to another backbone; no negatives are made "
                "with it"
            )


def load_head(head, path: Path) -> None:
    """Gives a `MaskedLMHead` the weights of a file.

    Args:
        head: the built layer.
        path: of a safetensors file with names that begin `cls.predictions.`.

    Raises:
        CheckpointError: the file is no such file, or lacks one of them.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(regular_file(path, CheckpointError), framework="numpy") as file:
            names = set(file.keys())
            values = {
                ours: file.get_tensor(_found(names, theirs, path))
                for ours, theirs in _NAMES.items()
            }
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{shown(path)} cannot be read as safetensors ({error})") from error
    for ours, value in values.items():
        variable = next(v for v in head.weights if v.path.endswith(ours))
        value = value.T if value.ndim == 2 else value
        if tuple(variable.shape) != value.shape:
            raise CheckpointError(
                f"{shown(path)}: {_PREFIX}{_NAMES[ours]} has shape {value.shape}; the backbone's "
                f"head has {tuple(variable.shape)}"
            )
        variable.assign(value)


def _found(names, theirs, path) -> str:
    for name in (theirs, _OLD.get(theirs)):
        if name is not None and _PREFIX + name in names:
            return _PREFIX + name
    raise CheckpointError(
        f"{shown(path)} has no {_PREFIX}{theirs}; expected a file of the original model with its "
        "head, not of the backbone alone"
    )
