"""The score network of grids: NCSN++ (Song et al., 2021, arXiv:2011.13456) as LSGM has it."""

import itertools
from collections.abc import Sequence

import keras
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.generative.lsgm.score_network import ScoreNetwork
from tfgen.layers.diffusion import (
    NEAR_ZERO,
    DiffusionBlock,
    SelfAttention,
    group_norm_of,
    scaled_conv,
)
from tfgen.ops.checks import whole_number
from tfgen.ops.random_streams import fold_in


@keras.saving.register_keras_serializable(package="tfgen")
class ScoreUNet(ScoreNetwork):
    """A U-Net of residual blocks over a grid of latents, with attention where the grid is small.

    On the way down every level has `num_blocks` blocks and, but for the last, one that halves the
    grid; on the way up one block more, each of which also sees what came down. The output starts
    near zero.

    Args:
        latent_shape: `(H, W, C)`; H and W divide by 2 as often as there are halvings.
        num_channels: integer, channels of the stem. Defaults to `256`.
        multipliers: sequence of integers, channels of every level in multiples of the stem's.
            Defaults to `(1, 1)`.
        num_blocks: integer, residual blocks of a level on the way down. Defaults to `8`.
        attention_grids: sequence of integers, heights of the grids with attention. Defaults to
            `(16,)`.
        filtered: whether grids are resampled by the FIR filter instead of by means and
            repetition. Defaults to `False`.
        dropout: float, share of numbers dropped in training. Defaults to `0.2`.
        embedding: string, how the network is told the time: "sinusoidal" or "fourier". Defaults to
            `"sinusoidal"`.
        embedding_dims: even integer, sines and cosines of the time. Defaults to `128`.
        recompute: whether blocks are computed again in the backward pass instead of being kept.
            Defaults to `False`.
        seed: integer, seed of the initial weights. Defaults to `0`.
        name: string, the layer's name. Defaults to `"score_network"`.

    Call arguments:
        z: `[B, H, W, C]` noisy latents.
        t: `[B]` times.

    Returns:
        `[B, H, W, C]` float32.

    Raises:
        ConfigError: the grid cannot be halved so often, or a number or choice is out of range.
    """

    def __init__(
        self,
        latent_shape,
        num_channels=256,
        multipliers: Sequence[int] = (1, 1),
        num_blocks=8,
        attention_grids: Sequence[int] = (16,),
        filtered=False,
        dropout=0.2,
        embedding="sinusoidal",
        embedding_dims=128,
        recompute=False,
        seed=0,
        name="score_network",
        **kwargs,
    ):
        super().__init__(
            latent_shape, embedding, embedding_dims, dropout, recompute, seed, name, **kwargs
        )
        whole_number("num_channels", num_channels, 1)
        whole_number("num_blocks", num_blocks, 1)
        self._check_grid(multipliers)
        self._options = dict(
            self._options,
            num_channels=num_channels,
            multipliers=list(multipliers),
            num_blocks=num_blocks,
            attention_grids=list(attention_grids),
            filtered=filtered,
        )
        self._declare()

    def _check_grid(self, multipliers):
        for k, multiplier in enumerate(multipliers):
            whole_number(f"multipliers[{k}]", multiplier, 1)
        factor = 2 ** (len(multipliers) - 1)
        shape = self.latent_shape
        if not multipliers or len(shape) != 3 or any(size % factor for size in shape[:2]):
            raise ConfigError(
                f"latents are {shape} and there are {len(multipliers)} multipliers; expected "
                f"(H, W, C) whose H and W divide by {factor}, halved between two levels: take "
                "fewer multipliers, or ScoreMLP for vectors"
            )

    def _declare(self):
        """Parts in the order in which they are called.

        On the way down each is beside whether its output is kept, on the way up beside whether it
        joins the last that is.
        """
        width, last = self._options["num_channels"], len(self._options["multipliers"]) - 1
        self._units = self.declare_embedding()
        self.stem = scaled_conv(self.bank, self.latent_shape[-1], width)
        kept, self.down, self.up = [width], [], []
        for level in range(last + 1):
            for _ in range(self._options["num_blocks"]):
                attends = self._attends(level)
                self.down.append((self._block(width, self._width(level)), not attends))
                width = self._width(level)
                if attends:
                    self.down.append((SelfAttention(self.bank, width), True))
                kept.append(width)
            if level < last:
                self.down.append((self._block(width, width, "down"), True))
                kept.append(width)
        attention = SelfAttention(self.bank, width)
        self.middle = [self._block(width, width), attention, self._block(width, width)]
        for level in range(last, -1, -1):
            for _ in range(self._options["num_blocks"] + 1):
                self.up.append((self._block(width + kept.pop(), self._width(level)), True))
                width = self._width(level)
            if self._attends(level):
                self.up.append((SelfAttention(self.bank, width), False))
            if level:
                self.up.append((self._block(width, width, "up"), False))
        self.last_norm = group_norm_of(self.bank, width)
        self.head = scaled_conv(self.bank, width, self.latent_shape[-1], scale=NEAR_ZERO)

    def _width(self, level):
        return self._options["multipliers"][level] * self._options["num_channels"]

    def _attends(self, level):
        return self.latent_shape[0] // 2**level in self._options["attention_grids"]

    def _block(self, channels, filters, resample=None):
        filtered, dropout = self._options["filtered"], self._options["dropout"]
        return DiffusionBlock(
            self.bank, channels, filters, self._units, resample, filtered, dropout
        )

    def predict(self, w, z, t, seed=None):
        embedding = tf.nn.silu(self.embedding(w, tf.cast(t, tf.float32)))
        numbers = itertools.count()

        def run(part, x):
            dropout = None if seed is None else fold_in(seed, next(numbers))
            return part(w, x, embedding, dropout)

        x = w.conv(self.stem, tf.cast(z, w.dtype))
        kept = [x]
        for part, keeps in self.down:
            x = run(part, x)
            if keeps:
                kept.append(x)
        for part in self.middle:
            x = run(part, x)
        for part, joins in self.up:
            x = run(part, tf.concat([x, kept.pop()], axis=-1) if joins else x)
        x = w.conv(self.head, w.group_norm(self.last_norm, x, "swish"))
        return tf.cast(x, tf.float32)
