"""A trained network as a stem, layers that can be replaced, and a head."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import keras

from tfgen.errors import ConfigError
from tfgen.search.hant import cuts, graph


class CutNetwork:
    """A network and its layers in HANT's sense.

    The network itself is never changed; parts of it share its weights.

    Args:
        network: functional `keras.Model` of images `[B, H, W, C]`, one input and one output. Nested
            functional models are taken apart; of one that computes in another precision than
            float32 a copy that does is taken.
        boundaries: sequence of names of Keras layers behind which it is cut, the first of which
            ends the stem and the last begins the head; None finds residual blocks, inverted
            bottlenecks and convolutions.

    Attributes:
        network: `keras.Model` without nested models.
        segments: list of `Segment`, the layers that can be replaced, in order.

    Raises:
        ConfigError: the network is not functional, has several inputs or outputs or a layer that
            Keras cannot make anew, or cannot be cut as wanted, with what could be named instead.
    """

    def __init__(self, network: keras.Model, boundaries: Sequence[str] | None = None):
        self.network = graph.in_float32(graph.flat(network))
        for node in graph.nodes_of(self.network):
            if isinstance(node.operation, keras.layers.Layer):
                graph.like(node.operation)  # now, not when a plan is built after hours of training
        found = cuts.pieces(self.network)
        if boundaries is None:
            places = cuts.automatic_boundaries(found)
        else:
            places = cuts.named_boundaries(found, boundaries)
        self.segments = _segments(found, places, named=boundaries is not None)
        if not self.segments:
            names = [p.operation.name for p in found[:-1] if len(p.output.shape) == 4]
            raise ConfigError(
                f"the network {network.name!r} has no layers to replace between "
                f"{'the boundaries named' if boundaries else 'any two cuts'}; name two or more "
                f"of its cuts as boundaries: {', '.join(names) or 'it has none of images'}"
            )

    def features(self) -> keras.Model:
        """A model of images to the tensors at all boundaries: of every layer the input, and last
        the output of the last."""
        tensors = [segment.input for segment in self.segments] + [self.segments[-1].output]
        return keras.Model(self.network.inputs[0], tensors, name="features")

    def layer(self, number: int) -> keras.Model:
        """A layer as a model of its own, with the network's weights.

        Args:
            number: integer, which.
        """
        segment = self.segments[number]
        return self._between(segment.input, segment.output, segment.nodes, segment.name)

    def tail(self, number: int) -> keras.Model:
        """A model of a layer's output to the network's, with the network's weights.

        Args:
            number: integer, the layer.
        """
        nodes, start = graph.nodes_of(self.network), self.segments[number].output
        before = {id(node) for node in self._up_to(start)}
        rest = [node for node in nodes if id(node) not in before]
        return self._between(start, self.network.outputs[0], rest, f"behind_{number}")

    def _up_to(self, tensor):
        nodes = graph.nodes_of(self.network)
        wanted, found = {id(tensor)}, []
        for node in reversed(nodes):
            if any(id(y) in wanted for y in node.output_tensors):
                wanted.update(id(x) for x in node.input_tensors)
                found.append(node)
        return found

    @staticmethod
    def _between(start, end, nodes, name):
        x = keras.Input(start.shape[1:], dtype=start.dtype)
        tensors = {id(start): x}
        graph.replay(nodes, tensors)
        return keras.Model(x, tensors[id(end)], name=name)

    def assemble(
        self, replacements: Mapping[int, keras.Model | None], name: str | None = None
    ) -> keras.Model:
        """The network with other layers, as a plain functional model with weights of its own.

        Keras layers that stay keep their names; those of a replacement begin with its layer's.

        Args:
            replacements: mapping of a layer's number to the functional model that takes its place,
                or to None, which leaves it out.
            name: string, the model's name; None is the network's.

        Raises:
            ConfigError: a layer does not exist, or what replaces it has other shapes.
        """
        self._check(replacements)
        pairs = [(self.segments[number], other) for number, other in replacements.items()]
        return assembled(self.network, pairs, name)

    def _check(self, replacements: Mapping[int, Any]):
        for number, other in replacements.items():
            if number not in range(len(self.segments)):
                raise ConfigError(
                    f"there is no layer {number!r}; the network has {len(self.segments)}"
                )
            segment = self.segments[number]
            wanted = [tuple(x.shape[1:]) for x in (segment.input, segment.output)]
            if other is None:
                shapes = [wanted[0], wanted[0]]
            else:
                shapes = [tuple(x.shape[1:]) for x in (*other.inputs, *other.outputs)]
            if shapes != wanted:
                what = "leaving out" if other is None else "what replaces"
                raise ConfigError(
                    f"{what} layer {number} ({segment.name}) turns {shapes[0]} into {shapes[-1]}; "
                    f"expected {wanted[0]} into {wanted[1]}"
                )


def assembled(
    network: keras.Model,
    replacements: Sequence[tuple[cuts.Segment, keras.Model | None]],
    name: str | None = None,
) -> keras.Model:
    """A network with other layers, as `CutNetwork.assemble` makes it.

    Args:
        network: functional `keras.Model` without nested models.
        replacements: sequence of pairs of a `Segment` of the network and what takes its place,
            which fits; no two have a part of the network in common.
        name: string, the model's name; None is the network's.
    """
    copies, ends = graph.Copies(), {id(segment.output): segment for segment, _ in replacements}
    inside = {id(node): other for segment, other in replacements for node in segment.nodes}
    images = keras.Input(network.inputs[0].shape[1:], name=network.inputs[0].name)
    tensors, others = {id(network.inputs[0]): images}, []
    for node in graph.nodes_of(network):
        if id(node) not in inside:
            graph.replay([node], tensors, copies)
        elif id(node.output_tensors[0]) in ends:
            segment, other = ends[id(node.output_tensors[0])], inside[id(node)]
            x = tensors[id(segment.input)]
            if other is not None:
                others.append(graph.Copies(lambda n, s=segment.name: f"{s}_{n}"))
                x = graph.copied(other, x, others[-1])
            tensors[id(segment.output)] = x
    outputs = keras.tree.map_structure(lambda y: tensors[id(y)], network._outputs_struct)
    made = keras.Model(images, outputs, name=name or network.name)
    for each in (copies, *others):
        each.copy_weights()
    return made


def _unique(name, taken) -> str:
    """A Keras layer that is called twice may be the last of two segments."""
    numbered = (name, *(f"{name}_{k}" for k in range(2, len(taken) + 3)))
    return next(n for n in numbered if n not in taken)


def _segments(found, places, named) -> list[cuts.Segment]:
    """Layers between boundaries at which there are images; without weights only if named so."""
    places = [k for k in places if len(found[k].output.shape) == 4 and k < len(found) - 1]
    segments = []
    for start, end in itertools.pairwise(places):
        parts = found[start + 1 : end + 1]
        if named or any(part.has_weights for part in parts):
            nodes = [node for part in parts for node in part.nodes]
            name = _unique(parts[-1].operation.name, {segment.name for segment in segments})
            segments.append(cuts.Segment(name, nodes, found[start].output, found[end].output))
    return segments
