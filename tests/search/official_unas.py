"""The authors' parameter names of UNAS's networks, in terms of this project's layers."""

import re

import numpy as np

_NORM = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean",
         "running_var": "moving_variance"}  # fmt: skip
_STEPS = {"1": "depthwise1", "2": "pointwise1", "3": "norm1",
          "5": "depthwise2", "6": "pointwise2", "7": "norm2"}  # fmt: skip
_FIXED = {
    "stem.0": "stem_conv",
    "stem.1": "stem_norm",
    "stem0.0": "stem_conv1",
    "stem0.1": "stem_norm1",
    "stem0.3": "stem_conv2",
    "stem0.4": "stem_norm2",
    "stem1.1": "stem_conv3",
    "stem1.2": "stem_norm3",
    "auxiliary_head.features.2": "auxiliary_conv1",
    "auxiliary_head.features.3": "auxiliary_norm1",
    "auxiliary_head.features.5": "auxiliary_conv2",
    "auxiliary_head.features.6": "auxiliary_norm2",
    "auxiliary_head.classifier": "auxiliary_logits",
    "classifier": "logits",
    "classifier.linear": "logits",
    "stem.0.conv": "stem_conv",
    "stem.0.bn": "stem_norm",
    "feature_mix_layer.conv": "last_conv",
    "feature_mix_layer.bn": "last_norm",
}
_BLOCK = {"inverted_bottleneck": "expand", "depth_conv": "depthwise", "point_linear": "project"}


def layer_of(name: str) -> str:
    """The layer of a parameter, without the parameter's own last word."""
    owner = name.rpartition(".")[0]
    if owner in _FIXED:
        return _FIXED[owner]
    if found := re.fullmatch(r"cells\.(\d+)\.preprocess([01])\.(.*)", owner):
        cell, number, rest = found.groups()
        parts = {"op.1": "conv", "op.2": "norm", "conv_1": "conv1", "conv_2": "conv2", "bn": "norm"}
        return f"cell{cell}_input{number}_{parts[rest]}"
    if found := re.fullmatch(r"cells\.(\d+)\._ops([01])\.(\d+)\.(.*)", owner):
        cell, edge, node, rest = found.groups()
        parts = {"conv_1": "conv1", "conv_2": "conv2", "bn": "norm"}
        step = parts.get(rest) or _STEPS[rest.removeprefix("op.")]
        return f"cell{cell}_node{node}_edge{edge}_{step}"
    found = re.fullmatch(r"(stem\.1|cells\.\d+)\.mobile_inverted_conv\.(\w+)\.(conv|bn)", owner)
    place, part, kind = found.groups()
    start = "first" if place == "stem.1" else place.replace("cells.", "block")
    return f"{start}_{_BLOCK[part]}{'_norm' if kind == 'bn' else ''}"


def variable_of(model, name: str):
    """The variable that a parameter is."""
    layer, word = model.get_layer(layer_of(name)), name.rpartition(".")[2]
    if hasattr(layer, "gamma"):
        return getattr(layer, _NORM[word])
    return layer.kernel if word == "weight" else layer.bias


def converted(model, name: str, value: np.ndarray) -> np.ndarray:
    """A parameter's value, or its gradient, as this project lays it out."""
    if value.ndim == 2:
        return value.T
    if value.ndim == 1:
        return value
    depthwise = model.get_layer(layer_of(name)).__class__.__name__ == "DepthwiseConv2D"
    return value.transpose(2, 3, 0, 1) if depthwise else value.transpose(2, 3, 1, 0)


def load(model, values) -> int:
    """Gives a model the reference's weights; returns how many variables it set."""
    names = [name for name in values.files if name.startswith("weights/")]
    for name in names:
        own = name.removeprefix("weights/")
        if own.endswith("num_batches_tracked"):
            continue
        variable_of(model, own).assign(converted(model, own, values[name]))
    return len(names)
