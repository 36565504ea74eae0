"""What int8 does with each operation of a network: where numbers are rounded, and to what."""

import inspect
from typing import Any

import keras
from keras import layers

# Kinds of calls.
WEIGHTS, JOIN, CONCATENATE, PASS, AVERAGE, ELEMENTWISE = (
    "weights",  # a kernel, rounded as well
    "join",  # sums and products: rounded behind, after an activation that only clips
    "concatenate",  # all tensors share one range
    "pass",  # moves numbers about: what was rounded stays so
    "average",  # of numbers of a range, rounded to that range
    "elementwise",  # rounded behind
)
_WEIGHTS = (layers.Conv2D, layers.DepthwiseConv2D, layers.Dense)
_JOINS = {"Add", "Subtract", "Multiply"}
_PASSES = {
    *("MaxPooling2D", "GlobalMaxPooling2D", "ZeroPadding2D", "Cropping2D", "UpSampling2D"),
    *("Flatten", "Reshape", "Permute", "Squeeze", "ExpandDims", "Transpose", "Identity"),
    *("Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "MaxPool"),
}
_POOLS = {"GlobalAveragePooling2D", "Mean"}
_ALIASES = {
    "swish": "silu",
    "hard_swish": "hard_silu",
    "hardsilu": "hard_silu",
    "hardswish": "hard_silu",
    "hardsigmoid": "hard_sigmoid",
    "leakyrelu": "leaky_relu",
}

CLIPS = ("relu", "relu6")  # LiteRT has them within the operation before
# LiteRT's integer kernels of these put out nothing else.
LIMITS = {"sigmoid": (0.0, 255 / 256), "softmax": (0.0, 255 / 256), "tanh": (-1.0, 127 / 128)}
_OTHERS = ("hard_silu", "silu", "hard_sigmoid", "leaky_relu", "elu", "gelu", "clip")


def activation_of(operation: Any) -> str | None:
    """The name of an activation, one of `CLIPS`, `LIMITS` or some others; None if it is none.

    Args:
        operation: a layer, or an operation of `keras.ops`.
    """
    if isinstance(operation, layers.Activation):
        return name_of(operation.activation)
    if isinstance(operation, layers.ReLU):
        if operation.threshold:
            return None
        if operation.negative_slope:
            return "leaky_relu" if operation.max_value is None else None
        return {None: "relu", 6: "relu6"}.get(operation.max_value, "clip")
    if isinstance(operation, layers.Softmax):
        return "softmax" if operation.axis in (-1, len(operation.output.shape) - 1) else None
    kind = type(operation).__name__.lower()
    kind = _ALIASES.get(kind, kind)
    return kind if kind in (*CLIPS, *LIMITS, *_OTHERS) else None


def name_of(activation: Any) -> str | None:
    """The name of the activation of a layer; "linear" where it does nothing.

    Args:
        activation: function, or None.
    """
    name = "linear" if activation is None else getattr(activation, "__name__", None)
    name = _ALIASES.get(name, name)
    own = getattr(keras.activations, str(name), None)
    # A function of somebody's own may have any name.
    return (
        name
        if own is not None and inspect.unwrap(own) is inspect.unwrap(activation or own)
        else None
    )


def kind_of(node: Any) -> str | None:
    """The kind of a call; None if int8 has none for it.

    Args:
        node: the call, one of the list that `graph.nodes_of` makes.
    """
    operation = node.operation
    kind, rank = type(operation).__name__, len(node.output_tensors[0].shape)
    if isinstance(operation, _WEIGHTS):
        last = getattr(operation, "data_format", "channels_last") == "channels_last"
        known = name_of(operation.activation)
        fits = rank == 2 if isinstance(operation, layers.Dense) else last
        return WEIGHTS if fits and (known == "linear" or known in _known()) else None
    if isinstance(operation, layers.Activation) and name_of(operation.activation) == "linear":
        return PASS
    if activation_of(operation) is not None:
        return ELEMENTWISE
    if kind == "UpSampling2D" and operation.interpolation != "nearest":
        return None
    if kind in _JOINS:
        return JOIN
    if kind == "Mean":  # over the pixels, as keras.ops writes it
        return ELEMENTWISE if len(node.input_tensors[0].shape) == 4 else None
    kinds = {"Concatenate": CONCATENATE, "AveragePooling2D": AVERAGE}
    kinds |= dict.fromkeys(_PASSES, PASS) | dict.fromkeys(_POOLS, ELEMENTWISE)
    return kinds.get(kind)


def _known():
    return (*CLIPS, *LIMITS, *_OTHERS)
