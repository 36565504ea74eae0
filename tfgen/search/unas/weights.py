"""Weights of networks here: how they begin, and how their gradients are bound."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen.ops.random_streams import fold_in


def initialize(model: keras.Model, seed: int) -> None:
    """Draws the kernels of a network anew, from a seed: uniform, of variance 1 / inputs.

    Whatever follows them is a batch norm, or the logits.

    Args:
        model: a `keras.Model`, built.
        seed: integer, of what is drawn; equal ones give equal weights.
    """
    depthwise = {
        id(layer.kernel)
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.DepthwiseConv2D)
    }
    base = tf.constant([seed % 2**31, 0x17], tf.int32)
    for number, variable in enumerate(model.trainable_variables):
        shape = tuple(variable.shape)
        if len(shape) > 1:
            inputs = np.prod(shape[:2] if id(variable) in depthwise else shape[:-1])
            limit = float(np.sqrt(3.0 / inputs))
            drawn = tf.random.stateless_uniform(shape, fold_in(base, number), -limit, limit)
            variable.assign(tf.cast(drawn, variable.dtype))


def bound_gradients(
    gradients: Sequence, variables: Sequence, clip_norm: float, penalty: float, scale
) -> list:
    """Gradients clipped to a norm, then with those of a penalty on squares.

    Args:
        gradients: sequence of tensors, of a loss times `scale`.
        variables: sequence of variables.
        clip_norm: float, the largest norm of all together.
        penalty: float, weight of half the sum of squares of the variables.
        scale: float scalar, what losses are multiplied by (`Model.scaled`).
    """
    clipped, _ = tf.clip_by_global_norm(gradients, clip_norm * scale)
    return [
        g + tf.cast(penalty * scale, g.dtype) * tf.cast(v, g.dtype)
        for v, g in zip(variables, clipped)
    ]


def running_statistics(model: keras.Model) -> list[keras.Variable]:
    """What a pass in training assigns beside the seeds of layers that drop."""
    return [v for v in model.non_trainable_variables if "float" in str(v.dtype)]


def values_of(variables: Sequence) -> list[tuple]:
    """Variables with what they hold now, as `StepOutput.updates` takes them."""
    return [(v, tf.identity(v.value)) for v in variables]


def put_back(held: Sequence[tuple]) -> None:
    """Gives variables what `values_of` found."""
    for variable, value in held:
        variable.assign(value)
