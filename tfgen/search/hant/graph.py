"""Functional Keras models as what they compute: operations in order, which can be run again.

Tensors of a functional model are known by identity. `replay` calls operations on other tensors, by
which a network is cut, joined and copied without knowing any of its layers.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras

from tfgen.errors import ConfigError


def flat(model: keras.Model) -> keras.Model:
    """The same network with the layers of nested functional models in the place of those.

    Layers are shared with `model`, and so are its weights.

    Args:
        model: a functional or sequential `keras.Model`.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(model, keras.Sequential) and model.built:
        model = model._functional or model
    if not _is_functional(model):
        raise ConfigError(
            f"the network is a {type(model).__name__}; expected a functional keras.Model"
        )
    if not any(_is_functional(node.operation) for node in nodes_of(model)):
        return model
    tensors = {id(x): x for x in model.inputs}
    replay(nodes_of(model), tensors, _inlined)
    outputs = keras.tree.map_structure(lambda y: tensors[id(y)], model._outputs_struct)
    return keras.Model(model._inputs_struct, outputs, name=model.name)


def _inlined(operation) -> Callable:
    """What a nested model does, layer by layer."""
    if isinstance(operation, keras.Sequential):
        operation = operation._functional
    if not _is_functional(operation):
        return operation

    def run(inputs, *_, **__):
        tensors = dict(zip(map(id, operation.inputs), keras.tree.flatten(inputs)))
        replay(nodes_of(operation), tensors, _inlined)
        return keras.tree.map_structure(lambda y: tensors[id(y)], operation._outputs_struct)

    return run


def _is_functional(operation) -> bool:
    return isinstance(operation, keras.Model) and hasattr(operation, "_nodes_by_depth")


def nodes_of(model: keras.Model) -> list:
    """Calls of operations in an order in which each comes after those it needs.

    Args:
        model: a functional `keras.Model`.
    """
    by_depth = model._nodes_by_depth
    return [
        node
        for depth in sorted(by_depth, reverse=True)
        for node in by_depth[depth]
        if node.operation is not None and not node.is_input
    ]


def replay(nodes: Iterable, tensors: dict[int, Any], call: Callable = lambda x: x) -> None:
    """Calls operations again.

    Args:
        nodes: iterable of calls, in order.
        tensors: dict of what stands for tensors, by their `id`; what is computed is added.
        call: function of an operation to the function that is called in its place; the operation
            itself by default.
    """
    for node in nodes:
        arguments, options = node.arguments.fill_in(tensors)
        outputs = keras.tree.flatten(call(node.operation)(*arguments, **options))
        tensors.update(zip(map(id, node.output_tensors), outputs))


class Copies:
    """Layers like those of a network, with weights of their own and equal values.

    Args:
        rename: function of a layer's name to its copy's; None leaves names as they are.
        dtype: string, in which the copies compute; None is that of the layers.
    """

    def __init__(self, rename: Callable[[str], str] | None = None, dtype: str | None = None):
        self._rename, self._dtype, self._copies = rename, dtype, {}

    def __call__(self, operation):
        """The copy of an operation; the same for each call. What has no weights needs none."""
        if not isinstance(operation, keras.layers.Layer):
            return operation
        if id(operation) not in self._copies:
            config = operation.get_config()
            if self._rename is not None:
                config["name"] = self._rename(operation.name)
            if self._dtype is not None:
                config["dtype"] = self._dtype
            self._copies[id(operation)] = operation, type(operation).from_config(config)
        return self._copies[id(operation)][1]

    def copy_weights(self) -> None:
        """Gives the copies, once they were called, the values of what they are copies of."""
        for layer, copy in self._copies.values():
            copy.set_weights(layer.get_weights())
            copy.trainable = layer.trainable


def copied(model: keras.Model, inputs: Any, copies: Copies) -> Any:
    """The outputs of a copy of a functional model on given tensors.

    Args:
        model: a functional `keras.Model`.
        inputs: tensor, or a list of them.
        copies: the `Copies` to use.
    """
    tensors = dict(zip(map(id, model.inputs), keras.tree.flatten(inputs)))
    replay(nodes_of(model), tensors, copies)
    return keras.tree.map_structure(lambda y: tensors[id(y)], model._outputs_struct)


def consumers(model: keras.Model) -> Mapping[int, int]:
    """How many calls take each tensor, by its `id`.

    Args:
        model: a functional `keras.Model`.
    """
    found: dict[int, int] = {}
    for node in nodes_of(model):
        for key in {id(x) for x in node.input_tensors}:
            found[key] = found.get(key, 0) + 1
    return found
