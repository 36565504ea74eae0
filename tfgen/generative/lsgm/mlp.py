"""The score network of vectors: a residual network of dense layers that is told the time."""

import itertools
import math

import keras
import tensorflow as tf

from tfgen.generative.lsgm.score_network import ScoreNetwork
from tfgen.layers.diffusion import NEAR_ZERO, dropped, scaled_dense
from tfgen.ops.checks import whole_number
from tfgen.ops.random_streams import fold_in

_HALF = math.sqrt(0.5)


@keras.saving.register_keras_serializable(package="tfgen")
class ScoreMLP(ScoreNetwork):
    """Residual blocks of two dense layers, normalised as `ScoreUNet`'s are; ours.

    Latents of any shape are flattened. The output starts near zero.

    Args:
        latent_shape: tuple, shape of the latents of one example.
        width: integer, units of every layer. Defaults to `256`.
        num_blocks: integer, residual blocks. Defaults to `4`.
        dropout: float, share of units dropped in training. Defaults to `0.0`.
        embedding: string, how the network is told the time: "sinusoidal" or "fourier". Defaults to
            `"sinusoidal"`.
        embedding_dims: even integer, sines and cosines of the time. Defaults to `64`.
        recompute: whether blocks are computed again in the backward pass; has no effect here, where
            little is kept. Defaults to `False`.
        seed: integer, seed of the initial weights. Defaults to `0`.
        name: string, the layer's name. Defaults to `"score_network"`.

    Call arguments:
        z: `[B, *latent_shape]` noisy latents.
        t: `[B]` times.

    Returns:
        `[B, *latent_shape]` float32.

    Raises:
        ConfigError: a number or choice is out of range.
    """

    def __init__(
        self,
        latent_shape,
        width=256,
        num_blocks=4,
        dropout=0.0,
        embedding="sinusoidal",
        embedding_dims=64,
        recompute=False,
        seed=0,
        name="score_network",
        **kwargs,
    ):
        super().__init__(
            latent_shape, embedding, embedding_dims, dropout, recompute, seed, name, **kwargs
        )
        whole_number("width", width, 1)
        whole_number("num_blocks", num_blocks, 1)
        self._options = dict(self._options, width=width, num_blocks=num_blocks)
        self.size = math.prod(self.latent_shape)
        units = self.declare_embedding()
        self.stem = scaled_dense(self.bank, self.size, width)
        self.blocks = [
            [
                self.bank.group_norm(width, 1),
                scaled_dense(self.bank, width, width),
                scaled_dense(self.bank, units, width),
                self.bank.group_norm(width, 1),
                scaled_dense(self.bank, width, width, NEAR_ZERO),
            ]
            for _ in range(num_blocks)
        ]
        self.last_norm = self.bank.group_norm(width, 1)
        self.head = scaled_dense(self.bank, width, self.size, NEAR_ZERO)

    def predict(self, w, z, t, seed=None):
        embedding = tf.nn.silu(self.embedding(w, tf.cast(t, tf.float32)))
        x = w.dense(self.stem, tf.cast(tf.reshape(z, [-1, self.size]), w.dtype))
        numbers = itertools.count()
        for norm, first, time, second_norm, second in self.blocks:
            dropout = None if seed is None else fold_in(seed, next(numbers))
            h = w.dense(first, w.group_norm(norm, x, "swish"))
            h += tf.cast(w.dense(time, embedding), h.dtype)
            h = dropped(w.group_norm(second_norm, h, "swish"), self._options["dropout"], dropout)
            x = (x + w.dense(second, h)) * _HALF
        x = w.dense(self.head, w.group_norm(self.last_norm, x, "swish"))
        return tf.reshape(tf.cast(x, tf.float32), [-1, *self.latent_shape])
