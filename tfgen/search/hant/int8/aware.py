"""Training that knows of int8: the network learns from its teacher while it is rounded."""

import os
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfgen.data.labels import as_labels
from tfgen.errors import ConfigError, DataError, UserError
from tfgen.ops.checks import one_of, whole_number
from tfgen.search.hant.fine_tuning import fine_tune
from tfgen.search.hant.int8.fake_quantization import RANGES
from tfgen.search.hant.int8.inputs import checked_images, checked_model, representative
from tfgen.search.hant.int8.model import Int8Model
from tfgen.search.hant.int8.post_training import converted
from tfgen.search.hant.int8.training_graph import deployed, fake_quantized, logits_of

METHODS = ("fake_quant", "tfmot")
_COMPARED = 64  # images on which the file is held against the network that was trained


def quantize_aware(
    teacher: keras.Model,
    student: keras.Model,
    images: np.ndarray,
    labels: np.ndarray | None = None,
    *,
    method: str = "fake_quant",
    epochs: int = 3,
    batch_size: int = 64,
    learning_rate: float = 1e-4,
    temperature: float = 2.0,
    student_loss_weight: float = 0.5,
    ranges: str = "moving_average",
    path: str | os.PathLike | None = None,
    num_images: int = 256,
    deployed_batch_size: int = 1,
    integer_ends: bool = False,
    seed: int = 0,
    **fit_options: Any,
) -> Int8Model:
    """Trains a network for int8 and turns it into it.

    Kernels and activations are rounded as int8 rounds them, while the network learns from labels
    and from its teacher as in `fine_tune`.

    Args:
        teacher: `keras.Model` of images to logits or probabilities, not changed; the student itself
            where there is no other.
        student: functional `keras.Model` with outputs of the same kind, trained before; it is not
            changed.
        images: array `[N, H, W, C]`.
        labels: `[N]` integers, or one-hot rows; None learns from the teacher alone.
        method: string: "fake_quant" trains with layers of Keras, "tfmot" with those of TensorFlow
            Model Optimization, which know fewer layers. Defaults to `"fake_quant"`.
        epochs: integer, passes over the images. Defaults to `3`.
        batch_size: integer, images in a batch of training. Defaults to `64`.
        learning_rate: float of Adam at the start; a tenth of the network's own does. Defaults to
            `1e-4`.
        temperature: float, by which logits are divided where the two are compared. Defaults to
            `2.0`.
        student_loss_weight: float, the share of the labels' cross-entropy in the loss. Defaults to
            `0.5`.
        ranges: string, of activations with "fake_quant": "moving_average", "learnt" or "frozen".
            Defaults to `"moving_average"`.
        path: path of the `.tflite` file to write; None writes none.
        num_images: integer, images drawn from which ranges are taken at first. Defaults to `256`.
        deployed_batch_size: integer, images in a batch of the file. Defaults to `1`.
        integer_ends: whether images and outputs are int8 as well, instead of float32. Defaults to
            `False`.
        seed: integer that draws those images and the order in training. Defaults to `0`.
        **fit_options: further keyword arguments of `fit`, such as callbacks.

    Returns:
        The `Int8Model`, whose `network` is what was trained, with batch norm folded.

    Raises:
        ConfigError: a network is not functional or has weights that are not finite, a layer cannot
            be trained in int8 by this method, or an option is out of range.
        DataError: images or labels are missing, of another shape, not finite or all alike.
        UserError: something is not installed, or LiteRT computes other numbers than the training.
        OSError: the file cannot be written.
    """
    one_of("method", method, METHODS)
    one_of("ranges", ranges, RANGES)
    for name, value in (("num_images", num_images), ("deployed_batch_size", deployed_batch_size)):
        whole_number(name, value, 1)
    flat = checked_model(student)
    _check_teacher(checked_model(teacher), flat)
    images = checked_images(flat, images)
    chosen = representative(images, num_images, seed)
    if labels is None:
        labels, student_loss_weight = np.zeros(len(images), np.int32), 0.0
    labels = _checked_labels(labels, flat, len(images))
    options = {
        "epochs": whole_number("epochs", epochs, 1),
        "learning_rate": learning_rate,
        "temperature": temperature,
        "student_loss_weight": student_loss_weight,
        **fit_options,
    }
    data = _batches(images, labels, whole_number("batch_size", batch_size, 1), seed)
    if method == "tfmot":
        from tfgen.search.hant.int8 import tfmot

        network = tfmot.taught(teacher, flat, tfmot.rounded(flat), data, **options)
    else:
        trained = fake_quantized(flat, chosen, ranges=ranges)
        fine_tune(teacher, logits_of(trained), data, **options)
        network = deployed(trained)
    content = converted(network, None, deployed_batch_size, integer_ends, seed)
    calibration = f"training, at first {len(chosen)} of {len(images)} images, seed {seed}"
    found = Int8Model(content, method, calibration, network)
    _check(found, network, images[:_COMPARED])
    if path is not None:
        found.save(path)
    return found


def _checked_labels(labels, model, count):
    """As integers of the network's classes."""
    numbers, classes = (
        as_labels(labels, count, "quantize_aware()").numbers,
        model.outputs[0].shape[-1],
    )
    if numbers.min() < 0 or numbers.max() >= classes:
        raise DataError(
            f"labels range from {numbers.min()} to {numbers.max()}; the network "
            f"{model.name!r} has {classes} classes, from 0"
        )
    return numbers.astype(np.int32)


def _check_teacher(teacher, student):
    """Raises a ConfigError unless both take and put out the same shapes."""
    pairs = [
        tuple(x.shape[1:] for x in (*each.inputs, *each.outputs)) for each in (teacher, student)
    ]
    if pairs[0] != pairs[1]:
        raise ConfigError(
            f"the teacher turns {pairs[0][0]} into {pairs[0][-1]} and the student {pairs[1][0]} "
            f"into {pairs[1][-1]}; expected networks of the same shapes"
        )


def _batches(images, labels, batch_size, seed) -> tf.data.Dataset:
    """In an order drawn anew every epoch, and the same for the same seed."""
    data = tf.data.Dataset.from_tensor_slices((images, labels))
    return data.shuffle(len(images), seed=seed).batch(batch_size)


def _check(found: Int8Model, network: Any, images: np.ndarray) -> None:
    """Raises a UserError if the file computes anything else than what was trained."""
    step = found.output_step
    if step is None:
        return
    wanted = np.asarray(network(images, training=False))
    steps = float(np.abs(found.predict(images) - wanted).mean() / step)
    if steps > 1.0:
        raise UserError(
            f"LiteRT's outputs are {steps:.2g} steps of int8 from those of the training on "
            "average; expected 1 at most: quantise without training by quantize()"
        )
