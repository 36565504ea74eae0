"""Sums of operations, weighted by an architecture."""

from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from tfgen.layers.convolutional import trained_faster

SKIP_BELOW = 0.05  # UNAS's published searches leave operations of less weight out


def part(inputs, function: Callable, *arguments, name: str, **options) -> keras.Model | None:
    """Layers of `function` as a model of their own; None where it puts none.

    Args:
        inputs: tuple, shape of one example.
        function: function of a tensor, and what follows, to a tensor.
        *arguments: tuple of what it is given beside.
        name: string, its name, which the model has as well.
        **options: dict of what it is given by name.
    """
    x = keras.Input(tuple(inputs))
    with trained_faster():
        y = function(x, *arguments, name=name, **options)
    return None if y is x else keras.Model(x, y, name=name)


def mixed(
    weights, operations: Sequence[Callable], x, shape, training: bool, skip_below: float
) -> tf.Tensor:
    """The weighted sum of operations on one tensor.

    Operations whose weight is small for all images are not run: they give nothing, learn nothing
    and see no statistics.

    Args:
        weights: `[B or 1, operations]` floats.
        operations: sequence of functions `(x, training=...)`; None is the identity.
        x: `[B, H, W, C]`.
        shape: tuple, shape of the operations' results for one image.
        training: whether in training.
        skip_below: float, the least weight with which an operation is run.
    """
    terms = []
    for number, operation in enumerate(operations):
        column = tf.cast(weights[:, number], x.dtype)[:, None, None, None]

        def run(operation=operation, column=column):
            return column * (x if operation is None else operation(x, training=training))

        def nothing():
            return tf.zeros([tf.shape(x)[0], *shape], x.dtype)

        largest = tf.reduce_max(weights[:, number])
        terms.append(tf.cond(largest >= skip_below, run, nothing) if skip_below else run())
    return tf.add_n(terms)


def copy_weights(source: keras.layers.Layer, target: keras.layers.Layer) -> None:
    """Gives a layer another's weights by name; what the other lacks stays as it is.

    Args:
        source: the `Layer` to copy from.
        target: the `Layer` to change.
    """
    values = {variable.name: variable for variable in source.weights}
    for variable in target.weights:
        if variable.name in values:
            variable.assign(values[variable.name])
