"""The loss along the gradient, at relative distances (Figure 1 of arXiv:2002.03432).

The deeper a network, the sooner its loss rises again when all tensors move by the same fraction of
their norms: the picture from which Fromage's relative steps follow.
"""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from tfgen.errors import UserError
from tfgen.files.replacing import replace_file
from tfgen.ops.norms import norms

PUBLISHED_DISTANCES = np.arange(100) / 1000.0


def loss_slice(
    losses: Callable[..., tf.Tensor],
    batches: Iterable,
    variables: Sequence,
    distances: Sequence[float] = PUBLISHED_DISTANCES,
) -> np.ndarray:
    """The mean loss where every tensor W has moved to `W - distance * ||W|| / ||g|| * g`.

    Here g is the gradient of the mean loss over all batches, at the start. Tensors that are zero
    or have none do not move. All variables have their values again afterwards.

    Args:
        losses: function that takes one batch and returns the loss of every example, `[B]`.
        batches: iterable of all the data; iterated `1 + len(distances)` times, so no iterator.
        variables: sequence of the variables to move.
        distances: sequence of floats, relative to the norms. Defaults to 0 to 0.099 in steps of
            0.001, as in the paper.

    Returns:
        float64 `[len(distances)]`.

    Raises:
        UserError: `batches` can be iterated only once, or is empty.

    Example:

    >>> network = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> def losses(batch):
    ...     return tf.reduce_sum(tf.square(network(batch["x"]) - batch["y"]), axis=1)
    >>> batches = [{"x": tf.ones([2, 4]), "y": tf.zeros([2, 3])}]
    >>> loss_slice(losses, batches, network.trainable_variables, [0.0, 0.1]).shape
    (2,)
    """
    if iter(batches) is batches:
        raise UserError(
            "batches is an iterator, which can be read once; expected a list or a tf.data.Dataset"
        )
    variables = [v.value if isinstance(v, keras.Variable) else v for v in variables]

    @tf.function(autograph=False)
    def total(batch):
        values = losses(batch)
        return tf.reduce_sum(tf.cast(values, tf.float64)), tf.size(values, tf.float64)

    @tf.function(autograph=False)
    def gradient_of_total(batch):
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(losses(batch))
        gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
        return [tf.convert_to_tensor(g) for g in gradients]

    directions = _relative(variables, _summed(gradient_of_total, batches))
    result = []
    with _restored(variables) as starts:
        for distance in distances:
            for variable, start, direction in zip(variables, starts, directions, strict=True):
                variable.assign(start - tf.cast(distance, start.dtype) * direction)
            loss, count = _summed(total, batches)
            result.append(float(loss) / float(count))
    return np.array(result)


def plot_loss_slices(
    slices: Mapping[str, np.ndarray],
    path: str | os.PathLike,
    distances: Sequence[float] = PUBLISHED_DISTANCES,
) -> None:
    """Draws slices over the relative distance.

    Args:
        slices: dict of arrays, label to losses `[len(distances)]`.
        path: path of the picture, written whole or not at all.
        distances: sequence of floats, those of all slices. Defaults to those of `loss_slice`.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    axis = figure.subplots()
    for label, losses in slices.items():
        (line,) = axis.plot(distances, losses, label=label)
        lowest = int(np.nanargmin(losses))
        axis.plot(distances[lowest], losses[lowest], "o", color=line.get_color(), ms=4)
    axis.set(xlabel="relative distance along the gradient", ylabel="mean loss", yscale="log")
    axis.legend()
    with replace_file(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _summed(function, batches):
    sums = None
    for batch in batches:
        values = function(batch)
        sums = values if sums is None else [a + b for a, b in zip(sums, values, strict=True)]
    if sums is None:
        raise UserError("batches is empty; expected at least one batch")
    return sums


def _relative(variables, gradients):
    """Each gradient at the norm of its variable."""
    values = [tf.convert_to_tensor(v) for v in variables]
    ratios = tf.math.divide_no_nan(norms(values), norms(gradients))
    return [tf.cast(r, g.dtype) * g for r, g in zip(tf.unstack(ratios), gradients, strict=True)]


@contextlib.contextmanager
def _restored(variables) -> Iterator[list[tf.Tensor]]:
    starts = [tf.identity(tf.convert_to_tensor(v)) for v in variables]
    try:
        yield starts
    finally:
        for variable, start in zip(variables, starts, strict=True):
            variable.assign(start)
