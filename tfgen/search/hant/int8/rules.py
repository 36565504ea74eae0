"""What int8 does with each operation of a network: where numbers are rounded, and to what."""

from typing import Any

import keras
from keras import layers

from tfgen.search.hant import affine

# Kinds of calls.
WEIGHTS, NORM, JOIN, CONCATENATE, PASS, AVERAGE, ELEMENTWISE = (
    "weights",  # a kernel, rounded as well
    "norm",  # of a convolution, into which it goes in the end
    "join",  # sums and products: rounded behind, after an activation that only clips
    "concatenate",  # all tensors share one range
    "pass",  # moves numbers about: what was rounded stays so
    "average",  # of numbers of a range, rounded to that range
    "elementwise",  # rounded behind
)
_WEIGHTS = ("Conv2D", "DepthwiseConv2D", "Dense")
_PASSES = {
    *("MaxPooling2D", "GlobalMaxPooling2D", "ZeroPadding2D", "Cropping2D", "UpSampling2D"),
    *("Flatten", "Reshape", "Permute", "Squeeze", "ExpandDims", "Transpose", "Identity"),
    *("Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "MaxPool"),
}
_KINDS = {
    **dict.fromkeys(_PASSES, PASS),
    **dict.fromkeys(("Add", "Subtract", "Multiply"), JOIN),
    **dict.fromkeys(("AveragePooling2D", "AveragePool"), AVERAGE),
    **dict.fromkeys(("GlobalAveragePooling2D", "Clip"), ELEMENTWISE),
    "Concatenate": CONCATENATE,
}
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
_OTHERS = ("hard_silu", "silu", "hard_sigmoid", "leaky_relu", "elu", "gelu")
ACTIVATIONS = (*CLIPS, *LIMITS, *_OTHERS)


def activation_of(operation: Any) -> str | None:
    """The name of an activation, one of `ACTIVATIONS` or "clip" to zero and a number; None if none.

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
    kind = type(operation).__name__.lower()
    kind = _ALIASES.get(kind, kind)
    if kind == "softmax" and operation.axis not in (-1, len(operation.output.shape) - 1):
        return None
    return kind if kind in ACTIVATIONS else None


def name_of(activation: Any) -> str | None:
    """The name of the activation of a layer; "linear" where it does nothing.

    Args:
        activation: function, or None.
    """
    if activation is None:
        return "linear"
    name = getattr(activation, "__name__", None)
    name = _ALIASES.get(name, name)
    own = getattr(keras.activations, str(name), None)
    # A function of somebody's own may have any name.
    return name if own is not None and own is activation else None


def kind_of(node: Any) -> str | None:
    """The kind of a call; None if int8 has none for it.

    Args:
        node: the call, one of the list that `graph.nodes_of` makes.
    """
    operation = node.operation
    kind, rank = type(operation).__name__, len(node.output_tensors[0].shape)
    if not type(operation).__module__.startswith("keras."):
        return None  # a layer of somebody's own may have any name
    if kind in _WEIGHTS:
        last = getattr(operation, "data_format", "channels_last") == "channels_last"
        fits = rank == 2 if kind == "Dense" else last
        known = name_of(operation.activation)
        return WEIGHTS if fits and known in ("linear", *ACTIVATIONS) else None
    if kind == "BatchNormalization":
        return NORM if affine.of_call(node) is not None else None
    if kind == "Activation" and name_of(operation.activation) == "linear":
        return PASS
    if activation_of(operation) is not None:
        return ELEMENTWISE
    if kind == "UpSampling2D" and operation.interpolation != "nearest":
        return None
    if kind == "Mean":  # over the pixels, as keras.ops writes it
        return ELEMENTWISE if len(node.input_tensors[0].shape) == 4 else None
    return _KINDS.get(kind)
