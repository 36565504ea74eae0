"""Whole networks whose batch norms have gone into the convolutions before them."""

from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

from tfgen.errors import UserError
from tfgen.search.hant import affine, graph
from tfgen.search.hant.affine import Affine

_DENSE = (layers.Conv1D, layers.Conv2D, layers.Conv3D, layers.Dense)
_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
_DEPTHWISE = (layers.DepthwiseConv1D, layers.DepthwiseConv2D)
_SEPARABLE = (layers.SeparableConv1D, layers.SeparableConv2D)


def fold_batch_norm(
    model: keras.Model, images: np.ndarray | None = None, *, tolerance: float = 1e-5
) -> keras.Model:
    """The same network without the batch norms that follow convolutions and dense layers.

    Each goes into the kernel and the bias before it, with its moving statistics. Those that follow
    anything else stay: padding with zeros, an activation, or a layer that others use as well.

    Args:
        model: functional `keras.Model`; nested models are taken apart. It is not changed.
        images: array `[N, H, W, C]`, on which both are compared; None draws normal numbers.
        tolerance: float, the largest difference of outputs allowed, in multiples of the largest
            output. Defaults to `1e-5`.

    Returns:
        A plain functional `keras.Model` with weights of its own.

    Raises:
        ConfigError: the network is not functional.
        UserError: the outputs differ by more.
    """
    found = folded_network(model)
    check_equal(model, found, images, tolerance)
    return found


def folded_network(
    model: keras.Model,
    *,
    everything: bool = False,
    keeps_norms: bool = False,
    kinds: Sequence[type] = (),
) -> keras.Model:
    """As `fold_batch_norm`, unchecked.

    Args:
        model: functional `keras.Model`.
        everything: whether whatever scales and shifts channels is folded, such as rescaling, and
            becomes a 1x1 depthwise convolution where there is nothing to fold it into; separable
            convolutions become two, and all is computed in float32. Default: `False`.
        keeps_norms: whether batch norms right behind convolutions stay. Default: `False`.
        kinds: sequence of types of layers that are folded like those of Keras that they are of.
    """
    return _Folding(graph.flat(model), everything, keeps_norms, tuple(kinds)).network()


def check_equal(
    model: keras.Model, other: keras.Model, images: np.ndarray | None, tolerance: float
) -> None:
    """Raises a UserError if two networks put out different numbers.

    Args:
        model: the one `keras.Model`.
        other: the other `keras.Model`, of the same inputs.
        images: array `[N, ...]`; None draws normal numbers.
        tolerance: float, the largest difference in multiples of the largest output.
    """
    rng = np.random.default_rng(0)
    if images is None:
        images = [
            rng.standard_normal((2, *(32 if s is None else s for s in x.shape[1:])))
            for x in model.inputs
        ]
        images = keras.tree.pack_sequence_as(graph.functional(model)._inputs_struct, images)
    pairs = [keras.tree.flatten(each(images, training=False)) for each in (model, other)]
    for first, second in zip(*pairs):
        first, second = (np.asarray(keras.ops.cast(y, "float32")) for y in (first, second))
        difference, size = np.abs(first - second).max(), np.abs(first).max()
        if not difference <= tolerance * max(size, 1e-30):
            raise UserError(
                f"folding batch norm changes the outputs of {model.name!r} by {difference:.2g}, "
                f"{difference / max(size, 1e-30):.1g} of the largest; expected {tolerance:g} at "
                "most: look for moving variances that are almost zero, or raise the tolerance"
            )


class _Folding:
    """One network."""

    def __init__(self, model, everything, keeps_norms, kinds):
        self.model, self.everything, self.keeps_norms = model, everything, keeps_norms
        self.kinds = (*_DENSE, *_TRANSPOSED, *_DEPTHWISE, *_SEPARABLE, *kinds)
        self.nodes = graph.nodes_of(model)
        self.uses = dict(graph.consumers(model))
        for y in model.outputs:
            self.uses[id(y)] = self.uses.get(id(y), 0) + 1
        self.roots: dict[int, Any] = {}  # of calls that go into another, or become a convolution
        self.affines: dict[int, Affine] = {}  # by that call
        self._plan()

    def _plan(self):
        makers = {id(y): node for node in self.nodes for y in node.output_tensors}
        for node in self.nodes:
            each = affine.of_call(node)
            is_norm = isinstance(node.operation, layers.BatchNormalization)
            if each is None or not (self.everything or is_norm):
                continue
            x = node.input_tensors[0]
            before = makers.get(id(x))
            root = self.roots.get(id(before), before)
            if root is not None and self.uses[id(x)] == 1 and self._takes(root):
                if self.keeps_norms and is_norm and root is before and _convolves(root):
                    continue
                self.roots[id(node)] = root
                known = self.affines.get(id(root))
                self.affines[id(root)] = each if known is None else known.then(each)
            elif self._alone(node):
                self.roots[id(node)], self.affines[id(node)] = node, each

    def _takes(self, node) -> bool:
        """Whether a call can take up what scales its output."""
        layer = node.operation
        if self.roots.get(id(node)) is node:
            return True
        return (
            type(layer) in self.kinds  # those of somebody's own may do anything
            and getattr(layer, "data_format", "channels_last") == "channels_last"
            and layer.activation in (None, keras.activations.linear)
        )

    def _alone(self, node) -> bool:
        """Whether a call becomes a depthwise convolution; LiteRT adds numbers as they are."""
        is_sum = not isinstance(node.operation, layers.Layer) and "Div" not in str(
            type(node.operation).__name__
        )
        return self.everything and len(node.input_tensors[0].shape) in (2, 4) and not is_sum

    def network(self) -> keras.Model:
        """The network anew."""
        dtype = "float32" if self.everything else None
        copies, self.values, self.names = graph.Copies(dtype=dtype), [], set()
        tensors = {
            id(x): keras.Input(x.shape[1:], dtype=x.dtype if dtype is None else dtype, name=x.name)
            for x in self.model.inputs
        }
        inputs = keras.tree.map_structure(lambda x: tensors[id(x)], self.model._inputs_struct)
        for node in self.nodes:
            root = self.roots.get(id(node))
            if root is not None and root is not node:
                tensors[id(node.output_tensors[0])] = tensors[id(node.input_tensors[0])]
            elif made := self._made(node, dtype):
                x = tensors[id(node.input_tensors[0])]
                for layer in made:
                    x = layer(x)
                tensors[id(node.output_tensors[0])] = x
            else:
                graph.replay([node], tensors, copies)
        outputs = keras.tree.map_structure(lambda y: tensors[id(y)], self.model._outputs_struct)
        found = keras.Model(inputs, outputs, name=self.model.name)
        copies.copy_weights()
        for layer, values in self.values:
            layer.set_weights([np.asarray(v, np.float32) for v in values])
        return found

    def _made(self, node, dtype) -> list:
        """The layers that stand for a call; none where it stays as it is."""
        layer, each = node.operation, self.affines.get(id(node))
        if self.roots.get(id(node)) is node:
            kernel = each.scale[None, None, :, None]
            made = [self._new(layers.DepthwiseConv2D, [kernel, each.offset], layer.name)]
            if len(node.input_tensors[0].shape) == 2:  # vectors are images of one pixel
                made = [layers.Reshape((1, 1, -1)), *made, layers.Flatten()]
            return made
        if self.everything and isinstance(layer, layers.SeparableConv2D):
            return self._two(layer, each)
        if each is None:
            return []
        config = layer.get_config() | {"use_bias": True}
        if dtype is not None:
            config["dtype"] = dtype
        return [self._new(type(layer), _weights(layer, each), **config)]

    def _new(self, kind, values, name, **config):
        """A layer, whose weights are set once it is called; a name is taken once."""
        config.setdefault("kernel_size", 1)
        if kind is layers.Dense:
            del config["kernel_size"]
        number, own = 1, name
        while own in self.names:
            number += 1
            own = f"{name}_{number}"
        self.names.add(own)
        made = kind.from_config({**config, "name": own})
        self.values.append((made, values))
        return made

    def _two(self, layer, each):
        """A separable convolution as a depthwise and a pointwise one."""
        shared = {
            "kernel_size": layer.kernel_size,
            "strides": layer.strides,
            "padding": layer.padding,
            "dilation_rate": layer.dilation_rate,
            "depth_multiplier": layer.depth_multiplier,
            "use_bias": False,
        }
        depthwise, *rest = _weights(layer, each or _nothing(layer.filters))
        name = f"{layer.name}_depthwise"
        first = self._new(layers.DepthwiseConv2D, [depthwise], name, **shared)
        activation = keras.activations.serialize(layer.activation)
        point = {"filters": layer.filters, "activation": activation}
        return [first, self._new(layers.Conv2D, rest, layer.name, **point)]


def _convolves(node) -> bool:
    kinds = (layers.Conv2D, layers.DepthwiseConv2D, layers.SeparableConv2D)
    return isinstance(node.operation, kinds)


def _nothing(channels) -> Affine:
    return Affine(np.ones(channels), np.zeros(channels))


def _weights(layer, each: Affine) -> Iterable[np.ndarray]:
    """Kernel and bias with what follows them, in the order in which the layer has them."""
    bias = each.offset
    if layer.bias is not None:
        bias = bias + each.scale * np.asarray(layer.bias, np.float64)
    if isinstance(layer, _SEPARABLE):
        pointwise = np.asarray(layer.pointwise_kernel, np.float64) * each.scale
        return [np.asarray(layer.depthwise_kernel), pointwise, bias]
    kernel, scale = np.asarray(layer.kernel, np.float64), each.scale
    if isinstance(layer, _TRANSPOSED):
        scale = scale[:, None]
    elif isinstance(layer, _DEPTHWISE):  # its channels are on the last two axes
        scale = scale.reshape(kernel.shape[-2:])
    return [kernel * scale, bias]
