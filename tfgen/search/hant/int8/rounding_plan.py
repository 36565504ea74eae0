"""Where a network is rounded, before anything is built."""

import keras

from tfgen.errors import ConfigError
from tfgen.search.hant import graph
from tfgen.search.hant.int8 import rules


class Groups:
    """Tensors by the range that they share."""

    def __init__(self):
        self._above: dict[int, int] = {}

    def of(self, tensor) -> int:
        """What stands for all tensors of a group.

        Args:
            tensor: one tensor of the group.
        """
        key = id(tensor)
        while (above := self._above.get(key, key)) != key:
            key = above
        return key

    def join(self, *tensors) -> None:
        """Makes one group of those of some tensors.

        Args:
            *tensors: tuple of tensors.
        """
        first = self.of(tensors[0])
        for other in tensors[1:]:
            self._above[self.of(other)] = first


class RoundingPlan:
    """What int8 does with every call of a network.

    Args:
        model: functional `keras.Model` of `folded_network`.

    Attributes:
        nodes: list of its calls, in order.
        kinds: dict of a call's `id` to its kind, see `rules`.
        followers: dict of a call's `id` to the list of the batch norms and activations that become
            part of it.
        absorbed: set of the `id` of those.
        groups: the `Groups` of tensors that share a range.
        members: dict of a group to the list of the `id` of those of its tensors that are rounded.

    Raises:
        ConfigError: a layer has no counterpart in int8.
    """

    def __init__(self, model: keras.Model):
        self.model, self.nodes = model, graph.nodes_of(model)
        self.kinds = {id(node): self._kind(node) for node in self.nodes}
        self.followers = self._plan_followers()
        self.absorbed = {id(n) for found in self.followers.values() for n in found}
        self.groups, self.members = Groups(), {}
        self._plan_ranges()

    def _kind(self, node):
        kind = rules.kind_of(node)
        if kind is None:
            raise self._refused(node.operation)
        return kind

    @staticmethod
    def _refused(operation):
        return ConfigError(
            f"the layer {operation.name!r} ({type(operation).__name__}) cannot be trained in int8; "
            "expected convolutions, dense layers, sums, products, concatenations, pooling and "
            "common activations: replace it, or quantise without training by quantize(), which "
            "leaves in float32 what it has to"
        )

    def _plan_followers(self) -> dict[int, list]:
        """Batch norms and activations that become part of the call before them, by that call."""
        uses = graph.consumers(self.model)
        makers = {id(y): n for n in self.nodes for y in n.output_tensors}
        found: dict[int, list] = {}
        roots = {}  # by a call, that which it becomes part of
        for node in self.nodes:
            x, kind = node.input_tensors[0], self.kinds[id(node)]
            clips = rules.activation_of(node.operation) in rules.CLIPS
            if kind != rules.NORM and not clips:
                continue
            before = makers.get(id(x))
            root = roots.get(id(before), before)
            if root is None or uses[id(x)] > 1 or x is self.model.outputs[0]:
                takes = False
            else:
                own = rules.name_of(getattr(root.operation, "activation", None))
                last = self.kinds[id(found.get(id(root), [root])[-1])]
                takes = last == rules.WEIGHTS and own == "linear"
                takes = takes or (clips and last in (rules.JOIN, rules.NORM))
            if takes:
                found.setdefault(id(root), []).append(node)
                roots[id(node)] = root
            elif kind == rules.NORM:
                raise self._refused(node.operation)
        return found

    def _plan_ranges(self):
        """Which tensors are rounded, and which of them to the same range."""
        events = [self.model.inputs[0]]
        for node in self.nodes:
            kind, y = self.kinds[id(node)], node.output_tensors[0]
            if id(node) in self.absorbed or kind in (rules.PASS, rules.AVERAGE):
                self.groups.join(node.input_tensors[0], y)
            elif kind == rules.CONCATENATE:
                self.groups.join(*node.input_tensors, y)
            else:
                events.append(y)
        for tensor in events:
            self.members.setdefault(self.groups.of(tensor), []).append(id(tensor))
