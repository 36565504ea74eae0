"""A small masked language model, trained on nothing but captions."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.grounding.words.encoder import WordEncoder
from tfgen.grounding.words.tokens import MASK, SPECIAL
from tfgen.ops.checks import in_range
from tfgen.ops.random_streams import hashed
from tfgen.training import Model, StepOutput

_SPECIAL = len(SPECIAL)  # numbers below are no words


@keras.saving.register_keras_serializable(package="tfgen")
class MaskedLanguageModel(Model):
    """Says which word stands where one is masked (BERT's task, Devlin et al., 2019).

    In training a share of a caption's words is to be guessed: of these 80 % are masked, 10 % become
    another word and 10 % stay, so that the model also judges words that it sees. A batch has
    `token_ids` `[B, L]`, 0 is padding.

    Args:
        vocabulary: sequence of strings that begins with the special tokens, see `build_vocabulary`.
        dims: integer, width. Defaults to `128`.
        num_blocks: integer, blocks of self-attention. Defaults to `2`.
        num_heads: integer, heads of each. Defaults to `4`.
        max_length: integer, tokens of the longest caption. Defaults to `32`.
        rate: float, share of the words that are guessed, one at least. Defaults to `0.15`.
        seed: integer, seed of the initial weights and of what is masked. Defaults to `0`.
        name: string, the model's name. Defaults to `"masked_language_model"`.

    Call arguments:
        token_ids: `[B, L]` integers.

    Returns:
        Logits `[B, L, V]` float32 of the word at every place.

    Raises:
        ConfigError: a number is out of range, or the vocabulary has no `[MASK]`.
    """

    progress_names = ("loss", "accuracy")

    def __init__(
        self,
        vocabulary: Sequence[str],
        dims=128,
        num_blocks=2,
        num_heads=4,
        max_length=32,
        rate=0.15,
        seed=0,
        name="masked_language_model",
        **kwargs,
    ):
        super().__init__(name=name, seed=seed, **kwargs)
        in_range("rate", rate, 0.0, above=True, below=1.0)
        self.encoder = WordEncoder(
            vocabulary,
            dims,
            num_blocks,
            num_heads,
            max_length,
            seed=seed,
            dtype=self.dtype_policy,
        )
        self.rate, self.vocabulary = rate, self.encoder.vocabulary
        if MASK not in self.vocabulary:
            raise ConfigError(f"the vocabulary lacks {MASK}; see tfgen.grounding.words")
        self.mask_id = self.vocabulary.index(MASK)
        start = keras.initializers.GlorotUniform(hashed(seed, "transform") % 2**31)
        self.transform = keras.layers.Dense(
            dims, "gelu", kernel_initializer=start, dtype=self.dtype_policy, name="transform"
        )
        self.norm = keras.layers.LayerNormalization(
            epsilon=1e-5, dtype=self.dtype_policy, name="norm"
        )

    def build(self, input_shape=None):
        if self.built:
            return
        self.encoder.build()
        for layer in (self.transform, self.norm):
            layer.build((None, None, self.encoder.dims))
        self.bias = self.add_weight(
            shape=(len(self.vocabulary),),
            initializer="zeros",
            dtype="float32",
            autocast=False,
            name="bias",
        )
        self.built = True

    def call(self, token_ids):
        self.build()
        return self._words(self.encoder(token_ids))

    def predict_step(self, data):
        """Of `predict`: logits of every place of `token_ids`."""
        return self(self.batch_of(data)["token_ids"])

    def _words(self, features):
        """Logits `[..., V]` of features `[..., dims]` of places."""
        x = self.norm(self.transform(features))
        table = tf.cast(tf.identity(self.encoder.embedding.value), x.dtype)
        return tf.cast(tf.einsum("bld,vd->blv", x, table), tf.float32) + self.bias.value

    def predict_on_ids(self, token_ids) -> np.ndarray:
        """Logits `[B, L, V]` of token ids `[B, L]`, as an array; see `propose_negatives`."""
        return self._predict_ids(tf.constant(token_ids, tf.int32)).numpy()

    @tf.function(reduce_retracing=True, autograph=False)
    def _predict_ids(self, token_ids):
        return self(token_ids)

    def training_loss(self, data):
        losses, right, chosen = self._guesses(data["token_ids"], self.step_seed("masking"))
        count = tf.maximum(tf.reduce_sum(chosen), 1.0)
        accuracy = tf.reduce_sum(right * chosen) / count
        return StepOutput(tf.reduce_sum(losses * chosen) / count, {"accuracy": accuracy})

    def evaluation_logs(self, data):
        # The same places of the same captions every time, and some in every caption.
        losses, right, chosen = self._guesses(data["token_ids"], tf.constant([self.seed, 0]))
        count = tf.maximum(tf.reduce_sum(chosen, axis=1), 1.0)
        return {
            "loss": tf.reduce_sum(losses * chosen, axis=1) / count,
            "accuracy": tf.reduce_sum(right * chosen, axis=1) / count,
        }

    def _guesses(self, token_ids, seed):
        """Cross-entropy, hits and which places count, `[B, K]` each, of the K places of a caption.

        The logits of all places would be the most of the work, a vocabulary each.
        """
        self.build()
        ids = tf.cast(token_ids, tf.int32)
        seeds = tf.unstack(tf.random.split(seed, 3))
        places, chosen = self._places(ids, seeds[0])
        asked = tf.gather(ids, places, batch_dims=1)
        draws = tf.random.stateless_uniform(tf.shape(asked), seeds[1])
        size = len(self.vocabulary)
        others = tf.random.stateless_uniform(
            tf.shape(asked), seeds[2], min(_SPECIAL, size - 1), size, tf.int32
        )
        seen = tf.where(draws < 0.8, self.mask_id, tf.where(draws < 0.9, others, asked))
        seen = tf.where(chosen > 0, seen, asked)
        rows = tf.broadcast_to(tf.range(tf.shape(ids)[0])[:, None], tf.shape(places))
        ids = tf.tensor_scatter_nd_update(ids, tf.stack([rows, places], -1), seen)
        logits = self._words(tf.gather(self.encoder(ids), places, batch_dims=1))
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(asked, logits)
        right = tf.equal(tf.argmax(logits, axis=-1, output_type=tf.int32), asked)
        return losses, tf.cast(right, tf.float32), chosen

    def _places(self, ids, seed):
        """Which tokens of each caption are guessed, `[B, K]`, and which of these count.

        The given share of its words, to the nearest number and one at least where it has any, so
        that every caption takes part and K is known.
        """
        words = ids >= _SPECIAL
        draws = tf.where(words, tf.random.stateless_uniform(tf.shape(ids), seed), -1.0)
        number = tf.reduce_sum(tf.cast(words, tf.float32), axis=1, keepdims=True)
        wanted = tf.minimum(tf.maximum(tf.round(self.rate * number), 1.0), number)
        most = max(1, round(self.rate * ids.shape[1])) if ids.shape[1] else None
        most = tf.cast(tf.reduce_max(wanted), tf.int32) if most is None else most
        places = tf.math.top_k(draws, most).indices
        return places, tf.cast(tf.cast(tf.range(most), tf.float32) < wanted, tf.float32)

    def describe(self):
        self.build()
        return {"parameters": self.num_parameters, "vocabulary": len(self.vocabulary)}

    def get_config(self):
        config = self.encoder.get_config()
        names = ("vocabulary", "dims", "num_blocks", "num_heads", "max_length")
        own = {name: config[name] for name in names}
        return {**super().get_config(), **own, "rate": self.rate, "seed": self.seed}
