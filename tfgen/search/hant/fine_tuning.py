"""The last phase: a network with other layers learns from the one it came from, as a whole."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import DataError
from tfgen.ops.checks import in_range, whole_number
from tfgen.ops.labels import class_indices
from tfgen.search.hant import graph
from tfgen.search.hant.answers import gives_probabilities


def fine_tune(
    teacher: keras.Model,
    student: keras.Model,
    images: np.ndarray | tf.data.Dataset,
    labels: np.ndarray | None = None,
    *,
    epochs: int = 10,
    batch_size: int = 64,
    learning_rate: float = 1e-3,
    temperature: float = 2.0,
    student_loss_weight: float = 0.5,
    **fit_options: Any,
) -> keras.callbacks.History:
    """Trains a student on labels and on its teacher's outputs, with `keras.distillation`.

    The learning rate falls to zero along a cosine.

    Args:
        teacher: functional `keras.Model` of images to logits or probabilities; it is not changed.
        student: functional `keras.Model` of the same classes, which is trained in place.
        images: array `[N, H, W, C]`, or a `tf.data.Dataset` of batches of images and labels, whose
            length is known.
        labels: `[N]` or `[N, 1]` integers or one-hot rows; None where `images` is a data set.
        epochs: integer, passes over the images. Defaults to `10`.
        batch_size: integer, images in a batch of an array. Defaults to `64`.
        learning_rate: float of Adam at the start; a tenth to a quarter of the teacher's highest
            does. Defaults to `1e-3`.
        temperature: float, by which logits are divided where the two are compared. Defaults to
            `2.0`.
        student_loss_weight: float, the share of the labels' cross-entropy in the loss. Defaults to
            `0.5`.
        **fit_options: further keyword arguments of `fit`, such as callbacks.

    Returns:
        The history of `fit`.

    Raises:
        ConfigError: a number is out of range, or the teacher is not functional.
        DataError: a label is no class of the student's.
    """
    whole_number("epochs", epochs, 1)
    whole_number("batch_size", batch_size, 1)
    in_range("learning_rate", learning_rate, 0.0, above=True)
    in_range("temperature", temperature, 0.0, above=True)
    in_range("student_loss_weight", student_loss_weight, 0.0, most=1.0)
    is_dataset = isinstance(images, tf.data.Dataset)
    steps = len(images) if is_dataset else -(-len(images) // batch_size)
    # The distiller freezes its teacher for good: not the user's own.
    frozen = graph.twin(graph.flat(teacher))
    distiller = keras.distillation.Distiller(
        teacher=_logits(frozen),
        student=_logits(student),
        distillation_losses=softened_divergence(temperature),
        student_loss_weight=student_loss_weight,
    )
    schedule = keras.optimizers.schedules.CosineDecay(learning_rate, epochs * steps)
    distiller.compile(
        optimizer=keras.optimizers.Adam(schedule),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    fit_options.setdefault("shuffle", not is_dataset)  # Keras warns of what it cannot shuffle
    if not is_dataset:
        fit_options["batch_size"] = batch_size
        if labels is None:
            raise DataError("images in an array need labels, one each; none came")
        labels = class_indices(labels, student.outputs[0].shape[-1]).numpy()
    return distiller.fit(images, labels, epochs=epochs, **fit_options)


def softened_divergence(temperature: float) -> keras.distillation.LogitsDistillation:
    """The divergence of what a teacher and a student answer, both softened by a temperature.

    Args:
        temperature: float, by which logits are divided; the result is multiplied by its square.
    """
    # By its name, which is the default, Keras finds a function that takes the logits themselves for
    # probabilities.
    divergence = keras.losses.KLDivergence()
    return keras.distillation.LogitsDistillation(temperature, divergence)


def _logits(model):
    """A classifier of logits that shares all weights; logarithms of probabilities are such."""
    if not gives_probabilities(model):
        return model
    return keras.Model(model.inputs[0], keras.ops.log(model.outputs[0] + 1e-7))
