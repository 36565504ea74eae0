"""Transformations that move pixels and change none."""

import itertools

import keras
import tensorflow as tf

from tfgen.errors import ConfigError
from tfgen.ood.transformations.base import Transformation
from tfgen.ops.checks import one_of, whole_number

PAIRS = ("all", "axes")
BORDERS = {"reflect": "REFLECT", "zero": "CONSTANT"}  # and "wrap", which pads nothing


@keras.saving.register_keras_serializable(package="tfgen")
class Rotation(Transformation):
    """By 0, 90, 180 and 270 degrees counter-clockwise, exactly.

    Args:
        name: string, the name of the task.
    """

    def __init__(self, name: str = "rotation", **kwargs):
        super().__init__(range(4), {}, name, **kwargs)

    def check(self, image_shape):
        if image_shape[0] != image_shape[1]:
            raise ConfigError(
                f"{self.name} is of images of {image_shape[0]} x {image_shape[1]} pixels; quarter "
                "turns need square ones: crop or resize them, or leave this transformation out"
            )

    def level(self, images, index, seed=None):
        if index == 2:
            return tf.reverse(images, [1, 2])
        if index == 1:
            return tf.reverse(tf.transpose(images, [0, 2, 1, 3]), [1])
        return tf.transpose(tf.reverse(images, [1]), [0, 2, 1, 3]) if index else images


@keras.saving.register_keras_serializable(package="tfgen")
class Translation(Transformation):
    """By a number of pixels to either side, and up or down.

    Args:
        shift: integer, pixels; None is a quarter of the height, 8 of 32 and 56 of 224.
        pairs: string, "all" moves along both axes at once, nine levels; "axes" along one of them,
            five levels. Defaults to `"all"`.
        joint: whether one head tells all levels apart, instead of one head for each axis. Defaults
            to `False`.
        border: string, what comes in: "reflect" without repeating the edge, "zero", or "wrap", what
            went out on the other side. Defaults to `"reflect"`.
        name: string, the name of the task.

    Raises:
        ConfigError: an argument is out of range.
    """

    def __init__(
        self,
        shift: int | None = None,
        pairs: str = "all",
        joint: bool = False,
        border: str = "reflect",
        name: str = "translation",
        **kwargs,
    ):
        if shift is not None:
            shift = whole_number("shift", shift, 1)
        one_of("pairs", pairs, PAIRS)
        self._border = one_of("border", border, [*BORDERS, "wrap"])
        self._directions = list(itertools.product((0, 1, -1), (0, 1, -1)))
        if pairs == "axes":
            self._directions = [(0, 0), (1, 0), (-1, 0), (0, 1), (0, -1)]
        labels = [(x % 3, y % 3) for x, y in self._directions]
        options = dict(shift=shift, pairs=pairs, joint=joint, border=border)
        super().__init__(range(len(labels)) if joint else labels, options, name, **kwargs)

    def check(self, image_shape):
        shift = self._shift(image_shape[0])
        if not 0 < shift < min(image_shape[:2]):
            raise ConfigError(
                f"{self.name} moves by {shift} pixels, but images have {image_shape[0]} x "
                f"{image_shape[1]}; expected at least 1 and fewer than the smaller side"
            )

    def level(self, images, index, seed=None):
        x, y = self._directions[index]
        shift = self._shift(images.shape[1])
        return self._along(self._along(images, 2, x * shift), 1, y * shift)

    def _shift(self, height):
        given = self._options["shift"]
        return height // 4 if given is None else given

    def _along(self, images, axis, shift):
        """Moved by `shift` pixels towards larger indices of an axis."""
        size = images.shape[axis]
        if not shift:
            return images
        if self._border == "wrap":
            cut = -shift % size
            parts = tf.split(images, [cut, size - cut], axis)
            return tf.concat(parts[::-1], axis)
        paddings = [[0, 0]] * 4
        paddings[axis] = [shift, 0] if shift > 0 else [0, -shift]
        padded = tf.pad(images, paddings, BORDERS[self._border])
        start = [0] * 4
        start[axis] = max(-shift, 0)
        ends = [-1] * 4
        ends[axis] = size
        return tf.slice(padded, start, ends)


@keras.saving.register_keras_serializable(package="tfgen")
class Permutation(Transformation):
    """A jigsaw of two by two: halves change places, above and below, left and right, or both.

    Args:
        name: string, the name of the task.
    """

    def __init__(self, name: str = "perm", **kwargs):
        super().__init__(range(4), {}, name, **kwargs)

    def check(self, image_shape):
        if min(image_shape[:2]) < 2:
            raise ConfigError(f"{self.name} needs images of at least 2 x 2 pixels")

    def level(self, images, index, seed=None):
        for axis, moved in ((1, index & 1), (2, index & 2)):
            if moved:
                size = images.shape[axis]
                half = size // 2
                first, middle, last = tf.split(images, [half, size - 2 * half, half], axis)
                images = tf.concat([last, middle, first], axis)
        return images


@keras.saving.register_keras_serializable(package="tfgen")
class Flip(Transformation):
    """Mirrored left to right, or not.

    Args:
        name: string, the name of the task.
    """

    def __init__(self, name: str = "flip", **kwargs):
        super().__init__(range(2), {}, name, **kwargs)

    def level(self, images, index, seed=None):
        return tf.reverse(images, [2]) if index else images
