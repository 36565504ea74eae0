"""Functional Keras models as what they compute: operations in order, which can be run again.

Tensors of a functional model are known by identity. `replay` calls operations on other tensors, by
which a network is cut, joined and copied without knowing any of its layers.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import keras

from tfgen.errors import ConfigError


def flat(model: keras.Model) -> keras.Model:
    """The same network with the layers of nested models in the place of those.

    Layers are shared with `model`, and so are its weights; but one whose name another one has is a
    copy with a name of its own.

    Args:
        model: a functional or sequential `keras.Model`, around models of either kind.

    Raises:
        ConfigError: it is neither.
    """
    outer = functional(model)
    if outer is None:
        raise ConfigError(
            f"the network is a {type(model).__name__}; expected a functional keras.Model"
        )
    if not any(functional(node.operation) for node in nodes_of(outer)):
        return outer
    tensors, inlining = {id(x): x for x in outer.inputs}, _Inlining(outer)
    replay(nodes_of(outer), tensors, inlining.of)
    inlining.copy_weights()
    outputs = keras.tree.map_structure(lambda y: tensors[id(y)], outer._outputs_struct)
    return keras.Model(outer._inputs_struct, outputs, name=model.name)


def functional(operation) -> keras.Model | None:
    """A functional model as it is, the one that a sequential model is, None for anything else.

    Args:
        operation: a layer, a model or another operation of Keras.
    """
    if isinstance(operation, keras.Sequential):
        return operation._functional
    nodes = isinstance(operation, keras.Model) and hasattr(operation, "_nodes_by_depth")
    return operation if nodes else None


class _Inlining:
    """What nested models do, layer by layer, under names of which each is there once."""

    def __init__(self, outer):
        own = [op for op in outer.operations if functional(op) is None]
        self._named, self._copies = {operation.name: operation for operation in own}, {}

    def of(self, operation, within: str = "") -> Callable:
        """The function that is called in the place of an operation.

        Args:
            operation: a Keras `Operation` of the graph.
            within: string, names of the models that it is nested in.
        """
        nested = functional(operation)
        if nested is None:
            return self._single(operation, within)

        def run(inputs, *_, **__):
            tensors = dict(zip(map(id, nested.inputs), keras.tree.flatten(inputs)))
            path = f"{within}{operation.name}_"
            replay(nodes_of(nested), tensors, lambda each: self.of(each, path))
            return keras.tree.map_structure(lambda y: tensors[id(y)], nested._outputs_struct)

        return run

    def _single(self, operation, within):
        name = operation.name
        if self._named.setdefault(name, operation) is operation:
            return operation
        if id(operation) not in self._copies:
            number, own = 1, f"{within}{name}"
            while own in self._named:
                number += 1
                own = f"{within}{name}_{number}"
            self._named[own] = like(operation, name=own)
            self._copies[id(operation)] = operation, self._named[own]
        return self._copies[id(operation)][1]

    def copy_weights(self):
        """Gives the copies, once they were called, the values of what they are copies of."""
        for operation, copy in self._copies.values():
            if isinstance(operation, keras.layers.Layer):
                copy.set_weights(operation.get_weights())
                copy.trainable = operation.trainable


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


def like(operation, **changes):
    """A layer or another operation made anew from its configuration, without its weights.

    Args:
        operation: a Keras `Operation`.
        **changes: keyword arguments, fields of its configuration that are to be others.

    Raises:
        ConfigError: Keras cannot make it anew, which it would have to for every file of it too.
    """
    options = {}
    if isinstance(operation, keras.layers.Lambda):
        options["safe_mode"] = False  # the caller's own function, of this process
    try:
        return type(operation).from_config({**operation.get_config(), **changes}, **options)
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
        function = getattr(operation, "activation", None)
        own = "" if function is None else f", as is its activation {function.__name__!r} perhaps"
        raise ConfigError(
            f"Keras cannot make the layer {operation.name!r} ({type(operation).__name__}) anew "
            f"from its configuration; functions that are not of Keras have to be registered{own}: "
            "name Keras's own, or see keras.saving.register_keras_serializable"
        ) from error


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
            changes = {} if self._dtype is None else {"dtype": self._dtype}
            if self._rename is not None:
                changes["name"] = self._rename(operation.name)
            self._copies[id(operation)] = operation, like(operation, **changes)
        return self._copies[id(operation)][1]

    def copy_weights(self) -> None:
        """Gives the copies, once they were called, the values of what they are copies of."""
        for layer, copy in self._copies.values():
            copy.set_weights(layer.get_weights())
            copy.trainable = layer.trainable


def in_float32(model: keras.Model) -> keras.Model:
    """The same network, or where any of it computes in another precision a copy that does not.

    Args:
        model: a functional `keras.Model` without nested models.

    Raises:
        ConfigError: a layer cannot be made anew from its configuration.
    """
    layers = [node.operation for node in nodes_of(model)]
    kinds = {x.compute_dtype for x in layers if isinstance(x, keras.layers.Layer)}
    kinds |= {x.dtype for x in model.inputs if keras.backend.is_float_dtype(x.dtype)}
    return model if kinds <= {"float32"} else twin(model)


def twin(model: keras.Model) -> keras.Model:
    """A copy of a network with weights of its own, which computes in float32.

    Args:
        model: a functional `keras.Model` without nested models.

    Raises:
        ConfigError: a layer cannot be made anew from its configuration.
    """
    copies, tensors = Copies(dtype="float32"), {}
    for x in model.inputs:
        dtype = "float32" if keras.backend.is_float_dtype(x.dtype) else x.dtype
        tensors[id(x)] = keras.Input(x.shape[1:], dtype=dtype, name=x.name)
    inputs = keras.tree.map_structure(lambda x: tensors[id(x)], model._inputs_struct)
    replay(nodes_of(model), tensors, copies)
    outputs = keras.tree.map_structure(lambda y: tensors[id(y)], model._outputs_struct)
    copies.copy_weights()
    return keras.Model(inputs, outputs, name=model.name)


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
