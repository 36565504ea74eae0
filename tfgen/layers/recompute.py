"""Runs a cell so that only its input is kept for the backward pass, which runs the cell again.

Memory then grows with the number of cells instead of with everything inside them, for about a third
more time. `tf.recompute_grad` does not see gradients to tensors that a function closes over, and
kernels are such tensors here; so they are handed in as arguments.
"""

from collections.abc import Callable, Iterator

import tensorflow as tf

from tfgen.layers.declarations import BatchNorm, Conv, Dense, GroupNorm
from tfgen.layers.weights import LiveWeights


def declared_parts(thing) -> Iterator[Conv | BatchNorm | GroupNorm | Dense]:
    """Every declared part that `thing` (a cell, a list, a part) holds, in a fixed order."""
    if isinstance(thing, Conv | BatchNorm | GroupNorm | Dense):
        yield thing
    elif isinstance(thing, list | tuple):
        for item in thing:
            yield from declared_parts(item)
    elif type(thing).__module__.startswith("tfgen.layers") and hasattr(thing, "__dict__"):
        yield from declared_parts(list(vars(thing).values()))


class GivenWeights(LiveWeights):
    """A view whose parameters are the tensors handed in, of the declared parts handed in."""

    def __init__(self, source: LiveWeights, parts: list, tensors: list):
        super().__init__(source.bank, source.training, source.dtype)
        self.source = source
        self._given = dict(zip(_keys(parts), tensors))

    def kernel(self, conv):
        return self._given["kernel", conv]

    def bias(self, conv):
        return None if conv.bias_row is None else self._given["bias", conv]

    def _row(self, kind, name, row):
        key = (kind, name, row)
        return self._given[key] if key in self._given else self.source._row(kind, name, row)


def recomputed(cell: Callable, w: LiveWeights, x, holder) -> tf.Tensor:
    """`cell(w, x)` whose insides are computed again for the gradient.

    Args:
        cell: function `(w, x) -> tensor`, the computation.
        w: `LiveWeights` in training mode; receives the batch statistics.
        x: tensor, the cell's input, or a list of tensors.
        holder: object that holds the cell's declared parts, such as the cell itself or a list of
            parts.
    """
    parts = list(dict.fromkeys(declared_parts(holder)))
    norms = [part for part in parts if isinstance(part, BatchNorm)]
    given = tf.nest.flatten(x)

    def compute(view, inputs):
        return cell(view, tf.nest.pack_sequence_as(x, inputs))

    @tf.custom_gradient
    def run(*tensors):
        view = GivenWeights(w, parts, tensors[len(given) :])
        y = compute(view, tensors[: len(given)])
        moments = [tf.stop_gradient(m) for norm in norms for m in view.moments[norm]]

        def gradient(dy, *_):
            # Not before the gradient arrives, or the memory would be taken all the same.
            with tf.control_dependencies([dy]):
                inputs = [tf.identity(t) for t in tensors]
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                view = GivenWeights(w, parts, inputs[len(given) :])
                again = compute(view, inputs[: len(given)])
            return tape.gradient(again, inputs, dy, unconnected_gradients="zero")

        return (y, *moments), gradient

    y, *moments = run(*given, *_tensors(w, parts))
    for norm, mean, variance in zip(norms, moments[::2], moments[1::2]):
        w.moments[norm] = (mean, variance)
    return y


def _keys(parts) -> list[tuple]:
    keys = []
    for part in parts:
        if isinstance(part, Conv):
            keys.append(("kernel", part))
            keys += [("bias", part)] if part.bias_row is not None else []
        elif isinstance(part, BatchNorm):
            keys += [(kind, part.channels, part.row) for kind in ("scales", "offsets")]
        elif isinstance(part, GroupNorm):
            kinds = ("group_scales", "group_offsets")
            keys += [(kind, part.channels, part.row) for kind in kinds]
        else:
            keys += [("kernels", part.stack, part.row), ("biases", part.units, part.bias_row)]
    return keys


def _tensors(w: LiveWeights, parts) -> list[tf.Tensor]:
    def look_up(key):
        if key[0] in ("kernel", "bias"):
            return getattr(w, key[0])(key[1])
        return w._row(*key)

    return [look_up(key) for key in _keys(parts)]
