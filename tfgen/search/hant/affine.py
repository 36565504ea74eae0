"""What only scales and shifts channels in inference: batch norm, rescaling, normalisation."""

from typing import Any, NamedTuple

import keras
import numpy as np


class Affine(NamedTuple):
    """`scale * x + offset`, channel by channel.

    Attributes:
        scale: array `[channels]`, float64.
        offset: array `[channels]`, float64.
    """

    scale: np.ndarray
    offset: np.ndarray

    def then(self, later: "Affine") -> "Affine":
        """Both, one after the other.

        Args:
            later: the `Affine` of what this one puts out.
        """
        return Affine(later.scale * self.scale, later.scale * self.offset + later.offset)


def of_batch_norm(norm: keras.layers.BatchNormalization) -> Affine:
    """What a batch norm does with its moving statistics.

    Args:
        norm: the `BatchNormalization`.
    """
    mean, variance = (np.asarray(v, np.float64) for v in (norm.moving_mean, norm.moving_variance))
    scale = 1.0 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        scale = scale * np.asarray(norm.gamma, np.float64)
    offset = np.asarray(norm.beta, np.float64) if norm.center else np.zeros_like(mean)
    return Affine(scale, offset - scale * mean)


def of_call(node: Any) -> Affine | None:
    """What a call of a functional network does to its last axis; None if it does anything else.

    Args:
        node: the call, one of the list that `graph.nodes_of` makes.
    """
    operation = node.operation
    if len(node.input_tensors) != 1 or len(node.output_tensors) != 1:
        return None
    rank, channels = len(node.input_tensors[0].shape), node.input_tensors[0].shape[-1]
    if isinstance(operation, keras.layers.BatchNormalization):
        on_last = operation.axis in (-1, rank - 1)
        return of_batch_norm(operation) if on_last and not _in_training(node) else None
    if channels is None:
        return None
    if isinstance(operation, keras.layers.Rescaling):
        return _spread(operation.scale, operation.offset, channels)
    if isinstance(operation, keras.layers.Normalization) and not operation.invert:
        deviation = np.maximum(np.sqrt(np.asarray(operation.variance)), keras.config.epsilon())
        mean = np.asarray(operation.mean)
        return _spread(1.0 / deviation, -mean / deviation, channels)
    return _of_arithmetic(node, channels)


def _in_training(node) -> bool:
    """Whether a batch norm was called so that it takes the statistics of the batch."""
    return node.arguments.kwargs.get("training") is True


def _spread(scale, offset, channels) -> Affine | None:
    """Both as `[channels]`; None where they differ along other axes."""
    parts = []
    for value in (scale, offset):
        value = np.asarray(value, np.float64)
        if value.size not in (1, channels) or (value.ndim and value.shape[-1] != value.size):
            return None
        parts.append(np.broadcast_to(value.reshape(-1), (channels,)))
    return Affine(*parts)


def _of_arithmetic(node, channels) -> Affine | None:
    """Of a number added, subtracted, multiplied or divided by."""
    arguments = node.arguments.args
    if isinstance(node.operation, keras.layers.Layer) or len(arguments) != 2:
        return None
    first, number = arguments
    kind = type(node.operation).__name__
    if kind in ("Add", "Multiply") and not isinstance(first, keras.KerasTensor):
        first, number = number, first
    if isinstance(number, keras.KerasTensor) or np.ndim(number):
        return None
    number = float(number)
    scale, offset = {
        "Add": (1.0, number),
        "Subtract": (1.0, -number),
        "Multiply": (number, 0.0),
        "TrueDivide": (1.0 / number if number else np.inf, 0.0),
        "Divide": (1.0 / number if number else np.inf, 0.0),
    }.get(kind, (None, None))
    if scale is None or not isinstance(first, keras.KerasTensor):
        return None
    return _spread(scale, offset, channels)
