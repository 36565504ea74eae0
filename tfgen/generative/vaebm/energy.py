"""Energy networks of VAEBM (Xiao et al., 2021, arXiv:2010.00654): images in, one number out."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.layers import (
    Conv,
    DataDependentWeights,
    FoldedWeights,
    LiveWeights,
    ParameterBank,
)
from tfgen.ops.pointwise import swish

# Residual blocks as (width in multiples of the stem's, whether the grid halves after it).
ARCHITECTURES: Mapping[str, tuple[tuple[int, bool], ...]] = {
    "cifar10": ((1, True), (1, False), (2, True), (2, False), (2, True), (2, False)),
    "celeba64": (
        *((1, True), (1, False), (2, True), (2, False)),
        *((2, True), (4, False), (4, True), (4, False)),
    ),
    "lsun_church64": (
        *((1, True), (1, False), (2, True), (2, False), (2, False)),
        *((2, True), (4, False), (4, False), (4, True), (4, False)),
    ),
    "celeba_hq256": (
        *((1, True), (1, False), (2, True), (2, False), (2, True), (2, False)),
        *((4, True), (4, False), (4, True), (4, False), (8, True), (8, False)),
    ),
    "mnist": ((1, True), (1, False), (2, True), (2, False)),
}


def lip_swish(x: tf.Tensor) -> tf.Tensor:
    """`x sigmoid(x) / 1.1`: smooth, with slopes between -0.0908 and 0.99985."""
    return swish(x, 1.0 / 1.1)


class Block(NamedTuple):
    """Declared parts of a residual block; `skip` is None where the input itself is added."""

    first: Conv
    second: Conv
    skip: Conv | None
    down: bool


@keras.saving.register_keras_serializable(package="tfgen")
class EnergyNetwork(keras.layers.Layer):
    """E(x), smaller where images look like data: a residual network without batch norm.

    Weight-normalised 3x3 convolutions, LipSwish, average pooling; features are summed over the
    grid, not averaged, so the energy of a larger image is larger.

    Args:
        image_shape: `(H, W, C)` of the images. Defaults to `(32, 32, 3)`.
        architecture: one of `ARCHITECTURES`, or its blocks: pairs of a width in multiples of
            `num_channels` and whether the grid halves after it. Defaults to `"cifar10"`.
        num_channels: integer, channels of the stem; the paper's 128 for CIFAR-10, 64 elsewhere.
            Defaults to `128`.
        signed_input: whether the network sees images in [-1, 1] instead of [0, 1]. Defaults to
            `False`.
        seed: integer, seed of the initial weights. Defaults to `0`.
        name: string, the layer's name.

    Call arguments:
        images: `[B, H, W, C]` in [0, 1].

    Returns:
        `[B]` float32.
    """

    def __init__(
        self,
        image_shape=(32, 32, 3),
        architecture: str | Sequence = "cifar10",
        num_channels: int = 128,
        signed_input: bool = False,
        seed: int = 0,
        name: str = "energy",
        **kwargs,
    ):
        super().__init__(name=name, autocast=False, **kwargs)
        self.image_shape = tuple(image_shape)
        self.architecture = architecture
        self.num_channels = num_channels
        self.signed_input = signed_input
        self.seed = seed
        blocks = _checked_blocks(architecture, self.image_shape, num_channels)
        self.bank = ParameterBank(seed=seed, name="parameters")
        self.stem = self.bank.conv(self.image_shape[-1], num_channels, 3)
        self.blocks, width = [], num_channels
        for multiple, down in blocks:
            self.blocks.append(self._declare(width, multiple * num_channels, down))
            width = multiple * num_channels
        self.head = self.bank.dense(width, 1)

    def _declare(self, channels, filters, down) -> Block:
        skip = None
        first = self.bank.conv(channels, filters, 3)
        second = self.bank.conv(filters, filters, 3)
        if down or channels != filters:
            skip = self.bank.conv(channels, filters, 1, bias=False)
        return Block(first, second, skip, down)

    def build(self, input_shape=None):
        del input_shape
        if not self.bank.built:
            self.bank.build()
        self.built = True

    def call(self, images):
        return self.energies(self.weights_view(), images)

    # -- computing --------------------------------------------------------------------------------

    def weights_view(self) -> LiveWeights:
        """The variables as one pass sees them."""
        if not self.built:
            self.build()
        return LiveWeights(self.bank, dtype=self.compute_dtype)

    def folded(self) -> FoldedWeights:
        """Plain kernels, normalised once, for many passes over the same weights."""
        view = FoldedWeights(self.weights_view(), dtype=self.compute_dtype)
        self.energies(view, tf.zeros((1, *self.image_shape)))  # folds what it meets; pruned itself
        return view

    def energies(self, w, images) -> tf.Tensor:
        """E(x), `[B]` float32, with the given view of the weights."""
        x = tf.cast(images, tf.float32)
        x = tf.cast(2.0 * x - 1.0 if self.signed_input else x, w.dtype)
        x = lip_swish(w.conv(self.stem, x))
        for block in self.blocks:
            conv = w.pooled_conv if block.down else w.conv  # sums of means are means of sums
            y = conv(block.second, lip_swish(w.conv(block.first, x)))
            x = lip_swish(y + (x if block.skip is None else conv(block.skip, x)))
        features = tf.reduce_sum(tf.cast(x, tf.float32), axis=[1, 2])
        return tf.squeeze(tf.cast(w.dense(self.head, features), tf.float32), axis=-1)

    def initialize_from_data(self, images) -> None:
        """Sets gains and biases so that every convolution puts out mean 0, deviation 0.2 on images.

        Skips have no bias and keep their mean.

        Args:
            images: `[B, H, W, C]` in [0, 1]; a few training batches together.
        """
        if not self.built:
            self.build()
        convs = [self.stem, *(conv for block in self.blocks for conv in block[:3])]
        view = DataDependentWeights(self.bank, [conv for conv in convs if conv is not None])
        self.energies(view, images)

    @property
    def num_parameters(self) -> int:
        """Trainable numbers."""
        return self.bank.num_parameters

    def get_config(self):
        return {
            **super().get_config(),
            "image_shape": list(self.image_shape),
            "architecture": self.architecture,
            "num_channels": self.num_channels,
            "signed_input": self.signed_input,
            "seed": self.seed,
        }


def _checked_blocks(architecture, image_shape, num_channels):
    if isinstance(architecture, str):
        if architecture not in ARCHITECTURES:
            raise ConfigError(
                f"architecture {architecture!r} is unknown; choose one of "
                f"{', '.join(ARCHITECTURES)}, or give blocks as pairs (width, down)"
            )
        architecture = ARCHITECTURES[architecture]
    if num_channels < 1 or len(image_shape) != 3:
        raise ConfigError(
            f"num_channels is {num_channels} and image_shape {image_shape}; expected at least 1 "
            "and (height, width, channels)"
        )
    halvings = sum(down for _, down in architecture)
    if min(image_shape[:2]) < 2**halvings:
        raise ConfigError(
            f"images of {image_shape[0]}x{image_shape[1]} vanish after {halvings} halvings; take "
            "an architecture with fewer"
        )
    return architecture
