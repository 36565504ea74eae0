"""What every transformation is: a few fixed changes of an image, and which of them is which."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.ops import random_streams


class Transformation(keras.layers.Layer):
    """A Keras layer that makes K versions, its levels, of every image.

    A head that has to tell which level it sees learns something of the images, and fails at images
    that are none of them. A subclass implements `level`; by convention level 0 leaves images as
    they are, to the last bit.

    Args:
        level_labels: integers `[K]` or `[K, heads]`, what a head has to say of each level; more
            columns are heads of their own, whose losses are averaged.
        options: dict of the constructor's arguments, for configurations.
        name: string, the name of the task.
        **kwargs: keyword arguments of `keras.layers.Layer`.

    Call arguments:
        images: float32 `[B, H, W, C]` in [0, 1].
        seed: int32 `[2]`, of what is drawn; None always draws the same, for every image.

    Returns:
        `[K, B, H, W, C]`, the levels one after the other.

    Attributes:
        identity_first: whether level 0 is the image itself, which tasks can then share.
    """

    identity_first: bool = True

    def __init__(self, level_labels, options: dict[str, Any], name: str, **kwargs):
        super().__init__(name=name, autocast=False, **kwargs)
        labels = np.asarray(level_labels, np.int32)
        self._labels = labels[:, None] if labels.ndim == 1 else labels
        self._options = options

    @property
    def num_levels(self) -> int:
        """K."""
        return len(self._labels)

    @property
    def level_labels(self) -> np.ndarray:
        """int32 `[K, heads]`, the label of each level for each head."""
        return self._labels

    @property
    def head_sizes(self) -> tuple[int, ...]:
        """Labels that each head tells apart."""
        return tuple(int(column.max()) + 1 for column in self._labels.T)

    @property
    def entropy(self) -> float:
        """Nats, the loss of heads that know nothing but how often each label comes: log K where
        all labels come equally often."""
        return float(np.mean([_entropy(column) for column in self._labels.T]))

    def check(self, image_shape: Sequence[int]) -> None:
        """Raises a ConfigError if images of a shape `(H, W, C)` cannot be transformed."""

    def level(self, images: tf.Tensor, index: int, seed: tf.Tensor | None = None) -> tf.Tensor:
        """The images at one level.

        Args:
            images: float32 `[B, H, W, C]` in [0, 1].
            index: integer, the level, 0 to K - 1.
            seed: int32 `[2]`, or None; see the class.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define level(images, index).")

    def levels(self, images: tf.Tensor, seed: tf.Tensor | None = None, first: int = 0) -> list:
        """The images at the levels `first`, `first + 1`, ..., each `[B, H, W, C]`."""
        return [
            self.level(images, k, None if seed is None else random_streams.fold_in(seed, k))
            for k in range(first, self.num_levels)
        ]

    def build(self, input_shape=None):
        """There are no weights."""
        self.built = True

    def call(self, images, seed=None):
        return tf.stack(self.levels(images, seed))

    def compute_output_shape(self, input_shape, **kwargs):
        del kwargs
        return (self.num_levels, *input_shape)

    def get_config(self):
        return {**super().get_config(), **self._options}


def numbers(name: str, values: Any, first: float) -> list[float]:
    """The strengths of levels as floats, of which the first changes nothing.

    Raises:
        ConfigError: fewer than two, not finite, or the first changes something.
    """
    try:
        found = [float(value) for value in values]
    except (TypeError, ValueError):
        raise ConfigError(f"{name} is {values!r}; expected a number for each level") from None
    if len(found) < 2 or not np.all(np.isfinite(found)) or found[0] != first:
        raise ConfigError(
            f"{name} is {values!r}; expected two or more finite numbers, the first {first:g}, "
            "which leaves images as they are"
        )
    return found


def scaled_to(height: int, at_32: float, at_224: float) -> float:
    """A magnitude for images of some height: a power law through those at 32 and at 224 pixels."""
    return at_32 * (height / 32.0) ** (np.log(at_224 / at_32) / np.log(7.0))


def _entropy(labels):
    share = np.bincount(labels) / len(labels)
    share = share[share > 0]
    return -np.sum(share * np.log(share))
