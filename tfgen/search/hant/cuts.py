"""Where a network can be cut into layers that are replaced one by one.

A layer in HANT's sense is a block of Keras layers that one tensor goes into and one comes out of.
Tensors through which everything passes are found on the graph; of them those are boundaries between
which there is a whole residual block, an inverted bottleneck without a shortcut, or a convolution
with its activation. The stem before them and the head behind stay.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import keras
from keras import layers

from tfgen.errors import ConfigError
from tfgen.search.hant import graph

_NORMS = (
    layers.BatchNormalization,
    layers.LayerNormalization,
    layers.GroupNormalization,
    layers.UnitNormalization,
)
_ACTIVATIONS = (layers.ReLU, layers.LeakyReLU, layers.PReLU, layers.ELU)
_JOINS = (layers.Add, layers.Average, layers.Concatenate, layers.Subtract)


class Piece(NamedTuple):
    """What lies between two neighbouring cuts: one call, or several that run side by side.

    Attributes:
        nodes: list of calls.
        output: the tensor that comes out.
    """

    nodes: list
    output: keras.KerasTensor

    @property
    def operation(self):
        """Of the last call."""
        return self.nodes[-1].operation

    @property
    def has_weights(self) -> bool:
        """Whether anything in it has weights."""
        return any(getattr(node.operation, "weights", ()) for node in self.nodes)

    @property
    def joins(self) -> bool:
        """Whether ways that parted come together by what is no gate, as in a residual block."""
        kind = type(self.operation).__name__.lower()
        is_join = isinstance(self.operation, _JOINS) or kind in ("add", "concatenate")
        return len(self.nodes) > 1 and is_join

    @property
    def convolves(self) -> bool:
        """Whether it is a single layer with weights that is no normalisation."""
        single = len(self.nodes) == 1 and self.has_weights
        return single and not isinstance(self.operation, _NORMS)

    @property
    def activates(self) -> bool:
        """Whether it changes every number by itself, nonlinearly."""
        return len(self.nodes) == 1 and is_activation(self.operation)


def is_activation(operation) -> bool:
    """Whether an operation is an activation, or ends with one.

    Args:
        operation: a layer, or an operation of `keras.ops`.
    """
    if isinstance(operation, keras.layers.Layer):
        own = getattr(operation, "activation", None)  # such as of a convolution
        return isinstance(operation, _ACTIVATIONS) or own not in (None, keras.activations.linear)
    name = type(operation).__name__.lower()
    return callable(getattr(keras.activations, name, None))


def pieces(model: keras.Model) -> list[Piece]:
    """The network between all its cuts, in order; the last output is the model's.

    Args:
        model: a functional `keras.Model` of one input and one output.

    Raises:
        ConfigError: it has several inputs or outputs.
    """
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ConfigError(
            f"the network {model.name!r} has {len(model.inputs)} inputs and {len(model.outputs)} "
            "outputs; expected one of each"
        )
    # Everything is before or after a cut, so that in any order of the calls it is where nothing
    # else is still needed.
    waiting = dict(graph.consumers(model))
    waiting[id(model.outputs[0])] = waiting.get(id(model.outputs[0]), 0) + 1
    alive = {id(model.inputs[0])}
    found, nodes = [], []
    for node in graph.nodes_of(model):
        nodes.append(node)
        for key in {id(x) for x in node.input_tensors}:
            waiting[key] -= 1
            if not waiting[key]:
                alive.discard(key)
        alive.update(id(x) for x in node.output_tensors if waiting.get(id(x)))
        if (
            len(alive) == 1
            and len(node.output_tensors) == 1
            and id(node.output_tensors[0]) in alive
        ):
            found.append(Piece(nodes, node.output_tensors[0]))
            nodes = []
    return found


class Segment(NamedTuple):
    """A layer that can be replaced.

    Attributes:
        name: string, that of its last Keras layer.
        nodes: list of calls.
        input: the tensor that goes in, `[B, H, W, C]`.
        output: the tensor that comes out, `[B, H', W', C']`.
    """

    name: str
    nodes: list
    input: keras.KerasTensor
    output: keras.KerasTensor

    @property
    def keeps_shape(self) -> bool:
        """Whether what comes out has the shape of what goes in, so that it can be left out."""
        return tuple(self.input.shape) == tuple(self.output.shape)


def automatic_boundaries(found: Sequence[Piece]) -> list[int]:
    """Numbers of the pieces after which a layer ends.

    Args:
        found: sequence of the network's `Piece`.
    """
    hard = set()
    for number, piece in enumerate(found):
        if piece.joins:
            hard.add(number - 1)
            end = number
            while end + 1 < len(found) and found[end + 1].activates:  # as in ResNet
                end += 1
            hard.add(end)
    linear = {k for k in range(len(found)) if _ends_bottleneck(found, k)}
    ends = sorted(hard | linear)
    places = {*ends, *_activations(found, 0, ends[0] if ends else len(found) - 1, not ends)}
    for start, end in itertools.pairwise(ends):
        if (
            end not in linear
            and found[end].activates
            and not any(piece.joins for piece in found[start + 1 : end + 1])
        ):
            places.update(_activations(found, start + 1, end, True))
    return sorted(place for place in places if place >= 0)


def _ends_bottleneck(found, number) -> bool:
    """Whether a convolution follows what is not activated, as between inverted bottlenecks."""
    piece = found[number]
    if not piece.has_weights or piece.activates or len(piece.nodes) > 1:
        return False
    for later in found[number + 1 :]:
        if later.activates or len(later.nodes) > 1:
            return False
        if later.has_weights:
            # Before the first activation nothing is a bottleneck yet: scaling of images, say.
            return later.convolves and any(p.activates for p in found[:number])
    return False


def _activations(found, start, end, every) -> list[int]:
    """Places of the activations that follow weights; only the first, or every one."""
    places, weights = [], False
    for number in range(start, end + 1):
        weights = weights or found[number].has_weights
        if weights and found[number].activates:
            places.append(number)
            weights = False
    return places if every else places[:1]


def named_boundaries(found: Sequence[Piece], names: Sequence[str]) -> list[int]:
    """Numbers of the pieces that end with the named layers.

    Args:
        found: sequence of the network's `Piece`.
        names: sequence of strings, names of Keras layers.

    Raises:
        ConfigError: a layer does not exist, or other tensors pass it by.
    """
    numbers = {piece.operation.name: k for k, piece in enumerate(found)}
    known = {node.operation.name for piece in found for node in piece.nodes}
    for name in names:
        if name not in known:
            raise ConfigError(f"the network has no layer {name!r}; expected names of its layers")
        if name not in numbers:
            around = next(
                piece for piece in found if name in {n.operation.name for n in piece.nodes}
            )
            before = numbers[around.operation.name] - 1
            choices = [found[k].operation.name for k in (before, before + 1) if k >= 0]
            raise ConfigError(
                f"the network cannot be cut behind {name!r}, which other tensors pass by; the "
                f"nearest cuts are behind {' and '.join(map(repr, choices))}"
            )
    return sorted({numbers[name] for name in names})
