"""Features of words that are learnt along: embeddings, and perhaps what stands around them."""

import math
from collections.abc import Sequence

import keras
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.grounding.critic import masked_softmax
from tfgen.ops.checks import whole_number
from tfgen.ops.random_streams import hashed

_ATTENTION = ("query", "key", "value", "output")


@keras.saving.register_keras_serializable(package="tfgen")
class WordEncoder(keras.Layer):
    """A small encoder of captions: nothing to download, trained together with the rest.

    Without blocks, a word is its embedding wherever it stands. Blocks of self-attention let it
    depend on its caption; padding is left out, so that neither other captions of a batch nor the
    length they are padded to change anything.

    Args:
        vocabulary: sequence of strings, all distinct; number 0 is padding (see
            `tfgen.grounding.words.WordPieces`).
        dims: integer, width of the features. Defaults to `64`.
        num_blocks: integer, blocks of self-attention. Defaults to `0`.
        num_heads: integer, heads of each, a divisor of `dims`. Defaults to `4`.
        max_length: integer, tokens of the longest caption, where there are blocks. Defaults to
            `64`.
        seed: integer, seed of the initial weights. Defaults to `0`.
        name: string, the layer's name. Defaults to `"word_encoder"`.

    Call arguments:
        token_ids: `[B, L]` integers, 0 where there is no token.

    Returns:
        `[B, L, dims]`, zero where there is no token.

    Raises:
        ConfigError: an empty vocabulary, or a number out of range.
    """

    def __init__(
        self,
        vocabulary: Sequence[str],
        dims=64,
        num_blocks=0,
        num_heads=4,
        max_length=64,
        seed=0,
        name="word_encoder",
        **kwargs,
    ):
        super().__init__(name=name, **kwargs)
        self.vocabulary = tuple(map(str, vocabulary))
        if len(set(self.vocabulary)) != len(self.vocabulary) or not self.vocabulary:
            raise ConfigError(
                f"vocabulary has {len(self.vocabulary)} words, {len(set(self.vocabulary))} of them "
                "different; expected at least one and none twice"
            )
        self.dims = whole_number("dims", dims, 1)
        self.num_blocks = whole_number("num_blocks", num_blocks, 0)
        self.num_heads = whole_number("num_heads", num_heads, 1)
        if num_blocks and dims % num_heads:
            raise ConfigError(f"dims is {dims}; expected a multiple of num_heads = {num_heads}")
        self.max_length = whole_number("max_length", max_length, 1)
        self.seed = int(seed)
        self.blocks = [self._block(index) for index in range(num_blocks)]
        self.last_norm = self._norm("last_norm") if num_blocks else None

    def build(self, input_shape=None):
        if self.built:
            return
        shape = (None, None, self.dims)
        self.embedding = self._embedding("tokens", len(self.vocabulary))
        if self.blocks:
            self.positions = self._embedding("positions", self.max_length)
            self.last_norm.build(shape)
        for block in self.blocks:
            for name in ("norm", *_ATTENTION, "second_norm", "up"):
                block[name].build(shape)
            block["down"].build((None, None, 4 * self.dims))
        self.built = True

    def call(self, token_ids):
        token_ids = tf.cast(token_ids, tf.int32)
        mask = tf.not_equal(token_ids, 0)
        x = tf.cast(looked_up(self.embedding.value, token_ids), self.compute_dtype)
        if self.blocks:
            x += self._places(token_ids)
            for block in self.blocks:
                x = _through(block, x, mask, self.num_heads)
            x = self.last_norm(x)
        return x * tf.cast(tf.expand_dims(mask, -1), x.dtype)

    def at(self, token_ids, position):
        """Features of one token of each of several captions, `[B, K, dims]`.

        Args:
            token_ids: `[B, K, L]` integers, K captions of every example.
            position: `[B]` integers, which token of all K.
        """
        token_ids = tf.cast(token_ids, tf.int32)
        batch, number, length = tf.unstack(tf.shape(token_ids))
        position = tf.repeat(tf.cast(position, tf.int32), number)
        if not self.blocks:  # the others do not matter
            chosen = tf.gather(tf.reshape(token_ids, [-1, length]), position, batch_dims=1)
            found = self(tf.expand_dims(chosen, -1))[:, 0]
        else:
            found = self(tf.reshape(token_ids, [-1, length]))
            found = tf.gather(found, position, batch_dims=1)
        return tf.reshape(found, [batch, number, self.dims])

    def compute_output_shape(self, input_shape):
        return (*input_shape, self.dims)

    def get_config(self):
        return {
            **super().get_config(),
            "vocabulary": list(self.vocabulary),
            "dims": self.dims,
            "num_blocks": self.num_blocks,
            "num_heads": self.num_heads,
            "max_length": self.max_length,
            "seed": self.seed,
        }

    def _places(self, token_ids):
        length = token_ids.shape[-1]
        if length is not None and length > self.max_length:
            raise ConfigError(
                f"captions have {length} tokens, but word_encoder.max_length is {self.max_length}; "
                "cut them, or make it longer"
            )
        places = self.positions.value[: tf.shape(token_ids)[-1]]
        return tf.cast(tf.expand_dims(places, 0), self.compute_dtype)

    def _seed(self, *words):
        return hashed(self.seed, *words) % 2**31

    def _embedding(self, name, count):
        start = keras.initializers.RandomNormal(stddev=0.1, seed=self._seed(name))
        return self.add_weight(
            shape=(count, self.dims),
            initializer=start,
            dtype="float32",
            autocast=False,
            name=name,
        )

    def _norm(self, name):
        return keras.layers.LayerNormalization(epsilon=1e-5, dtype=self.dtype_policy, name=name)

    def _dense(self, name, units, activation=None):
        return keras.layers.Dense(
            units,
            activation,
            kernel_initializer=keras.initializers.GlorotUniform(self._seed(name)),
            dtype=self.dtype_policy,
            name=name,
        )

    def _block(self, index):
        return {
            "norm": self._norm(f"norm_{index}"),
            **{part: self._dense(f"{part}_{index}", self.dims) for part in _ATTENTION},
            "second_norm": self._norm(f"second_norm_{index}"),
            "up": self._dense(f"up_{index}", 4 * self.dims, "gelu"),
            "down": self._dense(f"down_{index}", self.dims),
        }


@tf.custom_gradient
def looked_up(table: tf.Tensor, numbers: tf.Tensor):
    """Rows `[..., D]` of a table `[V, D]`, with a gradient that is a plain tensor as all others.

    Args:
        table: `[V, D]` floats.
        numbers: `[...]` integers.
    """
    count = table.shape[0]

    def gradient(upstream):
        rows = tf.reshape(upstream, [-1, upstream.shape[-1]])
        return tf.math.unsorted_segment_sum(rows, tf.reshape(numbers, [-1]), count), None

    return tf.gather(table, numbers), gradient


def _through(block, x, mask, num_heads):
    normed = block["norm"](x)
    query, key, value = (_heads(block[name](normed), num_heads) for name in _ATTENTION[:3])
    scores = tf.einsum("blhd,bmhd->bhlm", query, key) / math.sqrt(query.shape[-1])
    weights = masked_softmax(scores, tf.expand_dims(tf.expand_dims(mask, 1), 1))
    seen = tf.einsum("bhlm,bmhd->blhd", tf.cast(weights, value.dtype), value)
    x += block["output"](tf.reshape(seen, tf.shape(x)))
    return x + block["down"](block["up"](block["second_norm"](x)))


def _heads(x, num_heads):
    return tf.reshape(x, [*tf.unstack(tf.shape(x)[:2]), num_heads, x.shape[-1] // num_heads])
