"""Labels of images, in whatever form data sets have them."""

import tensorflow as tf

from tfgen.errors import DataError


def class_indices(labels, num_classes: int) -> tf.Tensor:
    """Labels as int32 `[B]`.

    Values are looked at where they are read: now, or within a graph when it runs, where
    `tfgen.errors.plain_user_errors` makes the `DataError` of what TensorFlow says. (XLA leaves
    such checks out.)

    Args:
        labels: `[B]` or `[B, 1]` whole numbers from 0 on, or `[B, num_classes]`, one-hot.
        num_classes: integer, classes.

    Raises:
        DataError: another shape or type; a class that does not exist; fractions of classes.
    """
    labels = tf.convert_to_tensor(labels)
    if not (labels.dtype.is_integer or labels.dtype.is_floating or labels.dtype == tf.bool):
        raise DataError(
            f"labels have type {labels.dtype.name}; expected integers from 0 to {num_classes - 1}"
        )
    if labels.shape.rank == 2 and labels.shape[1] == num_classes and num_classes > 1:
        return _of_one_hot(labels)
    if labels.shape.rank == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.shape.rank != 1:
        shape = "of unknown rank" if labels.shape.rank is None else tuple(labels.shape)
        raise DataError(
            f"labels have shape {shape}; expected [B], or [B, {num_classes}] with "
            "one entry for every class"
        )
    return _of_numbers(labels, num_classes)


def check_classes(labels, num_classes: int, where: str) -> None:
    """Raises a DataError unless all labels are classes that there are.

    Args:
        labels: `[N]` integers.
        num_classes: integer, classes.
        where: string, what has the labels, for the message.
    """
    if len(labels) and not 0 <= labels.min() <= labels.max() < num_classes:
        raise DataError(
            f"{where} has labels {labels.min()} to {labels.max()}{_expected(num_classes)}"
        )


def _of_one_hot(labels):
    ones = tf.cast(tf.equal(labels, tf.ones_like(labels)), tf.int32)
    others = tf.cast(tf.not_equal(labels, tf.zeros_like(labels)), tf.int32) - ones
    good = tf.reduce_all(tf.equal(tf.reduce_sum(ones, axis=1), 1) & tf.reduce_all(others == 0, 1))
    sentence = (
        "rows of labels are not one-hot; expected a single 1 in each, or integers: of "
        "probabilities tf.argmax(labels, axis=1) is the likeliest class"
    )
    return _if_good(tf.argmax(ones, axis=-1, output_type=tf.int32), good, [sentence])


def _of_numbers(labels, num_classes):
    if labels.dtype.is_floating:  # NaN equals nothing
        whole = tf.reduce_all(tf.equal(labels, tf.floor(labels)))
        labels = _if_good(labels, whole, ["labels are no whole numbers; expected integers"])
    numbers = tf.cast(labels, tf.float64 if labels.dtype.is_floating else tf.int64)
    good = tf.reduce_all((numbers >= 0) & (numbers < num_classes))
    sentence = (
        "labels are ",
        tf.reduce_min(numbers),
        " to ",
        tf.reduce_max(numbers),
        _expected(num_classes),
    )
    return _if_good(tf.cast(labels, tf.int32), good, sentence)


def _expected(num_classes):
    return (
        f"; expected 0 to {num_classes - 1}: others are none of the {num_classes} classes of the "
        "model"
    )


def _if_good(value, good, sentence):
    """The value once it is known to be good.

    Parts of the sentence may be numbers, which are put together outside of the graph: XLA compiles
    no words.
    """
    known = tf.get_static_value(good)
    if known is None:
        assertion = tf.debugging.Assert(
            good, [f"{DataError.__name__}: {sentence[0]}", *sentence[1:]]
        )
        with tf.control_dependencies([assertion]):
            return tf.identity(value)
    if not known:
        words = (x if isinstance(x, str) else f"{tf.get_static_value(x):g}" for x in sentence)
        raise DataError("".join(words))
    return value
