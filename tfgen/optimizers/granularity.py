"""Which entries of a model's tensors share one norm.

The published program gives every tensor one norm ("tensor"); its paper speaks of layers ("layer",
kernel and bias together). Finer choices make the relative step hold for every neuron, embedding
or attention head. A choice for one tensor comes down to the axes that keep norms of their own.
"""

import dataclasses
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from tfgen.errors import ConfigError

Rule = str | int | Sequence[int]
Granularity = Rule | Mapping[str, Rule]

NAMES = ("tensor", "layer", "neuron", "row", "head")


def check_granularity(granularity: Granularity) -> None:
    """Refuses what `rule_for` could not read.

    Raises:
        ConfigError: naming the choice and what there is.
    """
    for rule in granularity.values() if isinstance(granularity, Mapping) else [granularity]:
        axes = [rule] if isinstance(rule, int) else rule
        is_axes = not isinstance(axes, str) and all(isinstance(a, int) and a >= 0 for a in axes)
        if rule not in NAMES and not is_axes:
            raise ConfigError(
                f"granularity is {granularity!r}; expected one of {', '.join(NAMES)}, axes that "
                "keep norms of their own (integers from 0), or a dict from regular expressions of "
                "variable paths to these"
            )


def plain(granularity: Granularity) -> Granularity:
    """A copy in the types of JSON (Keras wraps the containers that its objects hold)."""
    if isinstance(granularity, Mapping):
        return {pattern: plain(rule) for pattern, rule in granularity.items()}
    return granularity if isinstance(granularity, str | int) else list(granularity)


def rule_for(granularity: Granularity, path: str) -> Rule:
    """The rule for one variable: of a dict, that of the first expression found in `path`."""
    if not isinstance(granularity, Mapping):
        return granularity
    matches = (rule for pattern, rule in granularity.items() if re.search(pattern, path))
    return next(matches, "tensor")


def kept_axes(rule: Rule, path: str, shape: Sequence[int]) -> tuple[int, ...]:
    """Axes of a tensor along which every entry has a norm of its own.

    Args:
        rule: "tensor" and "layer" keep none; "neuron" keeps the outputs, the last axis of Keras's
            kernels; "row" keeps the first axis, the tokens of an embedding; "head" keeps the heads
            in the kernels of `keras.layers.MultiHeadAttention`. Vectors have one norm in any case.
            Integers name the axes themselves.
        path: string, the variable's path.
        shape: sequence of integers, the variable's shape.

    Raises:
        ConfigError: an axis that the tensor does not have.
    """
    if not isinstance(rule, str):
        axes = tuple([rule] if isinstance(rule, int) else rule)
        if any(axis >= len(shape) for axis in axes):
            raise ConfigError(
                f"granularity keeps axes {axes} of {path}, whose shape is {tuple(shape)}; name "
                "axes that it has"
            )
        return axes
    last = len(shape) - 1
    if rule == "neuron" and last >= 1:
        return (last - 1, last) if path.endswith("depthwise_kernel") else (last,)
    if rule == "row" and last >= 1:
        return (0,)
    if rule == "head":
        return _head_axes(path, len(shape))
    return ()


def _head_axes(path, rank):
    """Query, key and value kernels are `[D, heads, size]`, their biases `[heads, size]`, the
    output kernel `[heads, size, D]`."""
    if rank == 3:
        return (0,) if "attention_output" in path else (1,)
    return (0,) if rank == 2 and path.endswith("bias") else ()


def layer_of(path: str) -> str:
    """What the tensors of one layer have in common: the path without the tensor's own name."""
    return path.rpartition("/")[0] or path


@dataclasses.dataclass(frozen=True)
class Partition:
    """What an optimizer needs to know about variables by their position.

    Attributes:
        segments: dict of integers: of variables with one norm, the norm's number; those of a layer
            share it.
        sizes: float64 `[N]`, elements behind each of these N norms.
        axes: dict of tuples: of variables with several norms, the axes that keep norms of their
            own.
        shapes: list of the shapes of all variables.

    Variables in neither dict have no norms: they are excluded.
    """

    segments: dict[int, int]
    sizes: np.ndarray
    axes: dict[int, tuple[int, ...]]
    shapes: list[tuple[int, ...]]

    def shape_of_norms(self, index: int) -> tuple[int, ...]:
        """Of the norms of a variable with several: size 1 along the axes that are summed over."""
        kept = self.axes[index]
        return tuple(size if i in kept else 1 for i, size in enumerate(self.shapes[index]))


def partition(variables: Sequence, granularity: Granularity, exclude: Sequence[str]) -> Partition:
    """Sorts variables by how their norms are formed.

    Args:
        variables: sequence of Keras or TensorFlow variables.
        granularity: string, tuple or dict, checked by `check_granularity`.
        exclude: sequence of regular expressions for paths.
    """
    axes, keys = {}, {}
    shapes = [tuple(variable.shape) for variable in variables]
    for index, variable in enumerate(variables):
        path = getattr(variable, "path", variable.name)
        rule = rule_for(granularity, path)
        if any(re.search(pattern, path) for pattern in exclude):
            continue
        if kept := kept_axes(rule, path, shapes[index]):
            axes[index] = kept
        else:
            keys[index] = ("layer", layer_of(path)) if rule == "layer" else index
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys.values()))}
    segments = {index: numbers[key] for index, key in keys.items()}
    sizes = np.zeros(len(numbers))
    for index, segment in segments.items():
        sizes[segment] += math.prod(shapes[index])
    return Partition(segments, sizes, axes, shapes)
