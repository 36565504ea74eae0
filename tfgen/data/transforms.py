"""What happens to a batch on its way to a model: small objects `(batch, key, first_row) -> batch`.

A batch is a dict of tensors. `key` names the transform's own table of random numbers
(`tfgen.data.random_tables`), and row `first_row + b` of it belongs to example b: what a transform
draws does not depend on how the data are cut into batches.
"""

from typing import Protocol

import numpy as np
import tensorflow as tf

from tfgen.data.random_tables import bernoulli, random_crop, random_flip
from tfgen.errors import ConfigError
from tfgen.ops.checks import whole_number

Batch = dict[str, tf.Tensor]

BINARIZATIONS = ("dynamic", "fixed", "threshold")


class Transform(Protocol):
    """What a `Pipeline` asks of each of its transforms."""

    def stream(self, split: str) -> tuple[str, ...]:
        """The purpose of its random numbers, which with the seed gives the key."""

    def __call__(self, batch: Batch, key: int, first_row: tf.Tensor) -> Batch:
        """The batch with some of its arrays replaced.

        Args:
            batch: tensors `[B, ...]`; "images" are uint8 until a transform makes them float32.
            key: integer, the key of the table of random numbers.
            first_row: int64 scalar, the row of the first example.
        """


class Quantize:
    """Reduces the images to fewer bits: `quantize`.

    Args:
        num_bits: integer, 1 to 8. Defaults to `8`.

    Raises:
        ConfigError: `num_bits` is out of range.
    """

    def __init__(self, num_bits: int = 8):
        self.num_bits = _checked_bits(num_bits)

    def stream(self, split: str) -> tuple[str, ...]:
        return ("quantize",)

    def __call__(self, batch: Batch, key: int, first_row) -> Batch:
        return batch | {"images": quantize(batch["images"], self.num_bits)}


class Binarize:
    """Makes the images 0 and 1, for data that are Bernoulli intensities.

    Args:
        how: string, "dynamic" draws anew at every access (the papers' protocol of training);
            "fixed" draws by the split and the row alone, which in evaluation is each image's own;
            "threshold" gives 1 above half intensity. Defaults to `"dynamic"`.

    Raises:
        ConfigError: another `how`, or images that are no longer uint8.
    """

    def __init__(self, how: str = "dynamic"):
        if how not in BINARIZATIONS:
            expected = ", ".join(map(repr, BINARIZATIONS))
            raise ConfigError(f"binarize is {how!r}; expected None or one of {expected}")
        self.how = how

    def stream(self, split: str) -> tuple[str, ...]:
        return ("fixed", split) if self.how == "fixed" else ("dynamic",)

    def __call__(self, batch: Batch, key: int, first_row) -> Batch:
        images = batch["images"]
        if images.dtype != tf.uint8:
            raise ConfigError(
                f"Binarize got images of type {images.dtype.name}; expected 8-bit intensities: "
                "put it before transforms that make them floating point"
            )
        ones = images > 127 if self.how == "threshold" else bernoulli(key, first_row, images)
        return batch | {"images": tf.cast(ones, tf.float32)}


class Crop:
    """Moves each image by up to some pixels each way, as cropping a padded one does.

    Args:
        padding: integer, pixels of zeros on every side; 4 is usual for CIFAR. Defaults to `4`.

    Raises:
        ConfigError: `padding` is no whole number from 1 on.
    """

    def __init__(self, padding: int = 4):
        self.padding = whole_number("crop_padding", padding, 1)

    def stream(self, split: str) -> tuple[str, ...]:
        return ("crop",)

    def __call__(self, batch: Batch, key: int, first_row) -> Batch:
        return batch | {"images": random_crop(key, first_row, batch["images"], self.padding)}


class Flip:
    """Mirrors each image left to right with probability one half."""

    def stream(self, split: str) -> tuple[str, ...]:
        return ("flip",)

    def __call__(self, batch: Batch, key: int, first_row) -> Batch:
        return batch | {"images": random_flip(key, first_row, batch["images"])}


def quantize(images, num_bits: int) -> tf.Tensor:
    """Reduces images to `num_bits` bits: floor(255 x / 2^(8 - b)) / (2^b - 1).

    Args:
        images: uint8 tensor in 0..255, or floating point in [0, 1]; any shape.
        num_bits: integer, 1 to 8.

    Returns:
        float32 in [0, 1] on the levels k / (2^b - 1); doing it again changes nothing.

    Raises:
        ConfigError: `num_bits` is out of range.
    """
    num_bits = _checked_bits(num_bits)
    images = tf.convert_to_tensor(images)
    if images.dtype == tf.uint8:
        levels = tf.cast(tf.bitwise.right_shift(images, np.uint8(8 - num_bits)), tf.float32)
    else:
        scaled = tf.cast(images, tf.float32) * (255.0 / 2 ** (8 - num_bits))
        # Levels are at least 2^-7 apart before the floor: the margin only mends rounding.
        levels = tf.minimum(tf.floor(scaled + 1e-3), 2.0**num_bits - 1.0)
    return levels / (2.0**num_bits - 1.0)


def _checked_bits(num_bits):
    if num_bits not in range(1, 9):
        raise ConfigError(f"num_bits is {num_bits!r}; expected a whole number from 1 to 8")
    return int(num_bits)
