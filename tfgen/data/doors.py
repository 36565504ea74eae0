"""Where images enter whatever works on them: the same check at every door."""

import functools

import numpy as np
import tensorflow as tf

from tfgen.data.labels import as_labels, check_all_words
from tfgen.data.ranges import as_intensities, checked_in_dataset
from tfgen.errors import DataError
from tfgen.ops.labels import class_indices


def as_images(
    images, image_shape: tuple[int, ...] | None = None, where="the array of images"
) -> tf.Tensor:
    """Images as float32 `[B, H, W, C]` in [0, 1], or why they are none.

    Args:
        images: array or tensor; within a graph only its type and shape are checked.
        image_shape: tuple `(H, W, C)` that they have to have; None: any.
        where: string, what they are called, for the message. Defaults to `"the array of images"`.

    Raises:
        DataError: another type, range or shape; NaN or infinite pixels.
    """
    images = as_intensities(images, where)
    expected = tf.TensorShape([None, *(image_shape or (None,) * 3)])
    if not expected.is_compatible_with(images.shape):
        one = images.shape.rank == expected.rank - 1
        remedy = "a single image needs images[None]" if one else "resize or convert the images"
        sizes = ", ".join(map(str, image_shape or "HWC"))
        raise DataError(f"{where} has shape {tuple(images.shape)}; expected [B, {sizes}]: {remedy}")
    return images


class TakesImages:
    """Mixin of what is given images, and perhaps labels.

    Attributes:
        image_shape: `(H, W, C)` of the images; None where nothing is known of them. They are
            handed on unchecked then.
        num_classes: integer, classes that labels name; None where none are looked at.
    """

    image_shape: tuple[int, ...] | None = None
    num_classes: int | None = None

    def as_images(self, images, where: str = "the array of images") -> tf.Tensor:
        """Images as this takes them, float32 `[B, *image_shape]` in [0, 1]; see `as_images`.

        A model of images that are something else overrides this.
        """
        if self.image_shape is None:
            return images
        return as_images(images, self.image_shape, where)

    def as_images_in_dataset(self, images, where: str = "a batch of images") -> tf.Tensor:
        """`as_images` within `tf.data.Dataset.map`, where values are checked batch by batch."""
        images = self.as_images(images, where)
        return images if self.image_shape is None else checked_in_dataset(images, where)

    def as_labels(self, labels, num_images: int, where: str = "the array of labels"):
        """Labels as this takes them, integers from 0 to `num_classes` - 1; see `as_labels`.

        Args:
            labels: array, tensor or list, whatever people keep labels in.
            num_images: integer, images they belong to.
            where: string, what they are called, for the message. Defaults to `"the array of
                labels"`.

        Raises:
            DataError: nothing that names a class for every image, or a class that does not exist.
        """
        labels = np.asarray(labels)
        if self.num_classes is None and labels.dtype.kind not in "OSU":  # may be anything
            return labels
        found = as_labels(labels, num_images, where)
        if self.num_classes is None:
            return found.numbers
        check_all_words(found.names, self.num_classes, where)
        wide = labels.ndim == 2 and labels.shape[1] > 1
        return class_indices(labels if wide else found.numbers, self.num_classes)

    def as_labels_in_dataset(self, labels) -> tf.Tensor:
        """`as_labels` within `tf.data.Dataset.map`, where values are checked batch by batch."""
        return labels if self.num_classes is None else class_indices(labels, self.num_classes)


def takes_images(method):
    """Decorator of a method of a `TakesImages` whose first argument is images."""

    @functools.wraps(method)
    def checked(self, images, *args, **kwargs):
        return method(self, self.as_images(images), *args, **kwargs)

    return checked
