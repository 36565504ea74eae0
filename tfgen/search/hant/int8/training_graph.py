"""A network as int8 will compute it, in float32 and trainable: ours, of Keras layers alone."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tfgen import stopping
from tfgen.errors import ConfigError
from tfgen.search.hant import graph
from tfgen.search.hant.folded_network import check_equal, folded_network
from tfgen.search.hant.int8 import rules
from tfgen.search.hant.int8.fake_quantization import (
    FakeQuantize,
    QuantizedConv2D,
    QuantizedDense,
    QuantizedDepthwiseConv2D,
)
from tfgen.search.hant.int8.rounding_plan import RoundingPlan

_QUANTIZED = {
    "Conv2D": QuantizedConv2D,
    "DepthwiseConv2D": QuantizedDepthwiseConv2D,
    "Dense": QuantizedDense,
}


def fake_quantized(
    model: keras.Model,
    images: np.ndarray,
    *,
    ranges: str = "moving_average",
    momentum: float = 0.99,
    batch_size: int = 32,
) -> keras.Model:
    """A network that computes what int8 will, with the ranges that activations have on images.

    Kernels are rounded by channels, and activations wherever LiteRT's integer kernels round them.
    Batch norm behind a convolution stays for training, which goes faster with it; what scales
    channels of a rounded kernel leaves its integers as they are, see `deployed`.

    Args:
        model: functional `keras.Model` of one input and one output, which is not changed.
        images: array `[N, H, W, C]`.
        ranges: string, "moving_average", "learnt" or "frozen", see `FakeQuantize`. Defaults to
            `"moving_average"`.
        momentum: float of the moving average. Defaults to `0.99`.
        batch_size: integer, images at a time. Defaults to `32`.

    Returns:
        A functional `keras.Model`.

    Raises:
        ConfigError: a layer has no counterpart in int8.
        UserError: batch norm cannot be folded.
    """
    folded = folded_network(model, everything=True, keeps_norms=True)
    check_equal(model, folded, images[:8], 1e-4)
    network = _Builder(folded, {"ranges": ranges, "momentum": momentum}).network()
    calibrate(network, (images[k : k + batch_size] for k in range(0, len(images), batch_size)))
    return network


def deployed(network: keras.Model) -> keras.Model:
    """The same network with its batch norms folded, as it becomes a file.

    Args:
        network: the `keras.Model` of `fake_quantized`, which is not changed.
    """
    return folded_network(network, kinds=tuple(_QUANTIZED.values()))


def calibrate(network: keras.Model, batches: Iterable[np.ndarray]) -> None:
    """Sets all ranges to the means of what batches have.

    Args:
        network: the `keras.Model` of `fake_quantized`.
        batches: iterable of arrays `[B, H, W, C]`.
    """
    found = [n for n in network.layers if isinstance(n, FakeQuantize)]
    variables = [v for n in found if n.limits is None for v in (n.minimum, n.maximum)]
    totals, count = [0.0] * len(variables), 0
    try:
        for each in found:
            each.observing = True
        run = tf.function(
            lambda x: network(x, training=False), reduce_retracing=True, autograph=False
        )
        for batch in batches:
            stopping.check()
            run(tf.constant(batch))
            totals = [total + np.asarray(v, np.float64) for total, v in zip(totals, variables)]
            count += 1
    finally:
        for each in found:
            each.observing = False
    for total, variable in zip(totals, variables):
        variable.assign(total / count)


def logits_of(network: keras.Model) -> keras.Model:
    """The same network up to a softmax at its end, with which it shares everything.

    Args:
        network: the `keras.Model` of `fake_quantized`.
    """
    last = graph.nodes_of(network)[-2:]
    if len(last) == 2 and rules.activation_of(last[0].operation) == "softmax":
        return keras.Model(network.inputs[0], last[0].input_tensors[0], name=network.name)
    return network


class _Builder:
    """Makes the network of one that is folded."""

    def __init__(self, model, options):
        self.model, self.options = model, {**options, "dtype": "float32"}
        self.plan, self.copies = RoundingPlan(model), graph.Copies()
        self.ranges: dict[int, FakeQuantize] = {}
        self.values: list[tuple] = []
        self.names: set[str] = set()
        self.tensors: dict[int, Any] = {}

    def network(self) -> keras.Model:
        """The network, its ranges not yet taken."""
        images = self.model.inputs[0]
        inputs = keras.Input(images.shape[1:], dtype="float32", name=images.name)
        self.tensors[id(images)] = self._rounded(inputs, images, images.name)
        for node in self.plan.nodes:
            y = node.output_tensors[0]
            if id(node) in self.plan.absorbed:
                self.tensors[id(y)] = self.tensors[id(node.input_tensors[0])]
            else:
                self.tensors[id(y)] = self._made(node)
        found = keras.Model(inputs, self.tensors[id(self.model.outputs[0])], name=self.model.name)
        self.copies.copy_weights()
        for layer, values in self.values:
            layer.set_weights(values)
        return found

    def _made(self, node):
        kind = self.plan.kinds[id(node)]
        return getattr(self, f"_{kind}")(node)

    def _rounded(self, value, tensor, name, limits=None):
        """A tensor of the new network, rounded to the range of one of the old."""
        group = self.plan.groups.of(tensor)
        members = self.plan.members[group]
        if limits is not None and len(members) > 1:
            raise ConfigError(
                f"the layer {name!r} puts out {limits[0]:g} to {limits[1]:.3g} in int8 and is "
                "concatenated with other numbers; expected it to be multiplied or put out"
            )
        if group not in self.ranges:
            name = self._once(f"{name}_range")
            self.ranges[group] = FakeQuantize(
                len(members), limits=limits, name=name, **self.options
            )
        slot = members.index(id(tensor))
        return self.ranges[group](value, slot=slot)

    def _weights(self, node):
        layer, y = node.operation, node.output_tensors[0]
        followers, own = self.plan.followers.get(id(node), []), rules.name_of(layer.activation)
        inside = own if own in rules.CLIPS else "linear"
        if followers and self.plan.kinds[id(followers[0])] != rules.NORM:
            inside, followers = rules.activation_of(followers[0].operation), followers[1:]
        config = layer.get_config() | {"activation": inside, "use_bias": True}
        config |= {"name": self._once(layer.name), "dtype": "float32"}
        made = _QUANTIZED[type(layer).__name__].from_config(config)
        x = made(self.tensors[id(node.input_tensors[0])])
        bias = np.zeros(made.bias.shape, np.float32) if layer.bias is None else layer.bias
        self.values.append((made, [np.asarray(layer.kernel), np.asarray(bias)]))
        for each in followers:
            x = self.copies(each.operation)(x)
        if own in (*rules.CLIPS, "linear"):
            return self._rounded(x, y, made.name)
        x = self._fake(x, f"{made.name}_linear")
        return self._activated(x, y, own, f"{made.name}_{own}", layers.Activation(own))

    def _once(self, name):
        """A name that is free: a layer may be called twice."""
        number, own = 1, name
        while own in self.names:
            number += 1
            own = f"{name}_{number}"
        self.names.add(own)
        return own

    def _fake(self, value, name, limits=None):
        """Rounded to a range of its own."""
        name = self._once(f"{name}_range")
        return FakeQuantize(limits=limits, name=name, **self.options)(value)

    def _join(self, node):
        y, name = node.output_tensors[0], node.operation.name
        inputs = [self.tensors[id(x)] for x in node.input_tensors]
        if len(inputs) > 2:  # LiteRT adds two at a time
            kind = type(node.operation)
            for number, other in enumerate(inputs[1:-1]):
                both = kind(name=self._once(f"{name}_{number}"))([inputs[0], other])
                inputs[0] = self._fake(both, f"{name}_{number}")
            x = kind(name=self._once(name))([inputs[0], inputs[-1]])
        else:
            x = self._replayed(node)
        for each in self.plan.followers.get(id(node), []):
            x = self.copies(each.operation)(x)
        return self._rounded(x, y, name)

    def _replayed(self, node):
        tensors = {id(x): self.tensors[id(x)] for x in node.input_tensors}
        graph.replay([node], tensors, self.copies)
        return tensors[id(node.output_tensors[0])]

    def _concatenate(self, node):
        return self._replayed(node)

    _pass = _concatenate

    def _average(self, node):
        """Averages lie between the limits of their numbers."""
        group = self.plan.groups.of(node.output_tensors[0])
        return self.ranges[group](self._replayed(node), slot=None)

    def _elementwise(self, node):
        operation, y = node.operation, node.output_tensors[0]
        kind = rules.activation_of(operation)
        if kind is None:
            return self._rounded(self._replayed(node), y, operation.name)
        x = self.tensors[id(node.input_tensors[0])]
        return self._activated(x, y, kind, operation.name, self.copies(operation))

    def _activated(self, x, y, kind, name, layer):
        """An activation of what is rounded, in the steps that LiteRT has kernels for."""
        if kind == "silu":
            gate = keras.ops.sigmoid(x)
            gate = self._fake(gate, f"{name}_gate", rules.LIMITS["sigmoid"])
            return self._rounded(x * gate, y, name)
        if kind == "hard_sigmoid":
            x = self._fake(keras.ops.relu6(x + 3.0), f"{name}_shifted", (0.0, 6.0))
            return self._rounded(x * (1 / 6), y, name)
        if kind == "clip":  # as LiteRT's minimum
            return self._rounded(keras.ops.clip(x, 0.0, float(layer.max_value)), y, name)
        return self._rounded(layer(x), y, name, rules.LIMITS.get(kind))
