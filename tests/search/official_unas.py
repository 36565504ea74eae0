"""The authors' parameter names of UNAS's networks, in terms of this project's layers."""

import re

import numpy as np

from tfgen.search.unas.genotypes import BLOCK_OPERATIONS, CELL_OPERATIONS

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


_PAIRS = [(node, source) for node in range(4) for source in range(node + 2)]


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
    if found := re.fullmatch(r"cells\.(\d+)\._ops\.(\d+)\._ops\.(\d+)\.(.*)", owner):
        cell, pair, number, rest = found.groups()
        node, source = _PAIRS[int(pair)]
        parts = {"conv_1": "conv1", "conv_2": "conv2", "bn": "norm"}
        step = parts.get(rest) or _STEPS[rest.removeprefix("op.")]
        operation = CELL_OPERATIONS[int(number)]
        return f"cell{cell}_node{node}_input{source}_{operation}_{step}"
    words = r"cells\.(\d+)\._ops\.(\d+)\.mobile_inverted_conv\.(\w+)\.(conv|bn)"
    if found := re.fullmatch(words, owner):
        number, choice, step, kind = found.groups()
        block = BLOCK_OPERATIONS[int(choice) - (int(number) % 4 != 0)]
        start = f"block{number}_{block.kernel}x{block.kernel}_e{block.expansion}"
        return f"{start}_{_BLOCK[step]}{'_norm' if kind == 'bn' else ''}"
    found = re.fullmatch(r"(stem\.1|cells\.\d+)\.mobile_inverted_conv\.(\w+)\.(conv|bn)", owner)
    place, part, kind = found.groups()
    start = "first" if place == "stem.1" else place.replace("cells.", "block")
    return f"{start}_{_BLOCK[part]}{'_norm' if kind == 'bn' else ''}"


def all_layers(model) -> dict:
    """Layers by name, those within layers too."""
    found = {}
    for layer in model._flatten_layers(include_self=False):
        found.setdefault(layer.name, layer)
    return found


def variable_of(layers: dict, name: str):
    """The variable that a parameter is."""
    layer, word = layers[layer_of(name)], name.rpartition(".")[2]
    if hasattr(layer, "moving_mean"):
        return getattr(layer, _NORM[word])
    return layer.kernel if word == "weight" else layer.bias


def converted(layers: dict, name: str, value: np.ndarray) -> np.ndarray:
    """A parameter's value, or its gradient, as this project lays it out."""
    if value.ndim == 2:
        return value.T
    if value.ndim == 1:
        return value
    depthwise = type(layers[layer_of(name)]).__name__ == "DepthwiseConv2D"
    return value.transpose(2, 3, 0, 1) if depthwise else value.transpose(2, 3, 1, 0)


def load(model, values) -> dict:
    """Gives a model the reference's weights; returns its layers by name."""
    layers = all_layers(model)
    for key in values.files:
        name = key.removeprefix("weights/")
        if name != key and not name.endswith("num_batches_tracked"):
            variable_of(layers, name).assign(converted(layers, name, values[key]))
    return layers
