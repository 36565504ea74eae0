"""Labels of images, in whatever form data sets have them."""

import tensorflow as tf

from tfgen.errors import DataError


def class_indices(labels, num_classes: int) -> tf.Tensor:
    """Labels as int32 `[B]`.

    Args:
        labels: `[B]` or `[B, 1]` numbers from 0 on, or `[B, num_classes]`, whose largest entry is
            the class.
        num_classes: integer, classes.

    Raises:
        DataError: another shape, or a class that does not exist.
    """
    labels = tf.convert_to_tensor(labels)
    if labels.shape.rank == 2 and labels.shape[1] == num_classes and num_classes > 1:
        return tf.argmax(labels, axis=-1, output_type=tf.int32)
    if labels.shape.rank == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape.rank != 1:
        raise DataError(
            f"labels have shape {tuple(labels.shape)}; expected [B], or [B, {num_classes}] with "
            "one entry for every class"
        )
    labels = tf.cast(labels, tf.int32)
    known = tf.get_static_value(labels)
    if known is not None and known.size and not 0 <= known.min() <= known.max() < num_classes:
        raise DataError(
            f"labels are {known.min()} to {known.max()}; expected 0 to {num_classes - 1}: others "
            f"are none of the {num_classes} classes of the model"
        )
    return labels
