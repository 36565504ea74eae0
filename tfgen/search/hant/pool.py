"""The pool of candidates as a configuration: plain values, of which models are made for a layer.

An operation is a dict: its family, and the family's options. Two need no training: `teacher`, the
layer as it is, and `identity`, which leaves it out and is possible where shapes agree.
"""

import inspect
import itertools
from collections.abc import Iterable, Mapping
from typing import Any

import keras

from tfgen.errors import ConfigError
from tfgen.ops.checks import one_of
from tfgen.search.hant.cuts import Segment, is_activation
from tfgen.search.hant.families import FAMILIES

Operation = Mapping[str, Any]
TEACHER, IDENTITY = {"family": "teacher"}, {"family": "identity"}
# Behind a tensor, an option of every family: `(x, filters, stride, activation, name, ...)`.
_COMMON = 5
_SHORT = {
    "expansion": "e",
    "kernel": "k",
    "squeeze": "se",
    "width": "w",
    "depth": "l",
    "dim": "d",
    "heads": "h",
    "groups": "g",
    "scope": "s",
}


def _grid(family: str, **options: Iterable) -> list[dict]:
    names = list(options)
    rows = itertools.product(*options.values())
    return [{"family": family, **dict(zip(names, row))} for row in rows]


def small_pool() -> list[dict]:
    """Twenty-two operations that are of use most often; list of dicts."""
    return [
        TEACHER,
        IDENTITY,
        *_grid("efn", expansion=(1, 3, 6), kernel=(3, 5)),
        *_grid("efnv2", expansion=(1, 3, 6), kernel=(3,)),
        *_grid("cb_bottle", width=(0.125, 0.25, 0.5, 1.0), kernel=(3,)),
        *_grid("cb_stack", width=(0.25, 0.5, 1.0), kernel=(3,)),
        *_grid("repvgg", kernel=(3,)),
        *_grid("separable", kernel=(3, 5)),
        *_grid("cb_res", kernel=(1,)),
    ]


def full_pool() -> list[dict]:
    """The families of LANA in their grids; list of dicts.

    Its exact list is not published; these are 194 of about as many.
    """
    kernels, widths = (1, 3, 5, 7), (1 / 16, 1 / 10, 1 / 8, 1 / 5, 1 / 4, 1 / 2, 1.0, 2.0, 3.0, 4.0)
    blocks = dict(expansion=(1, 3, 6), kernel=(1, 3, 5), squeeze=(None, 0.04, 0.025))
    return [
        TEACHER,
        IDENTITY,
        *_grid("efn", **blocks),
        *_grid("efnv2", **blocks),
        *_grid("cb_stack", kernel=kernels, width=widths),
        *_grid("cb_bottle", kernel=kernels, width=widths),
        *_grid("cb_res", kernel=kernels),
        *_grid("repvgg", kernel=(3, 5)),
        *_grid("conv_cs", kernel=(3, 5), width=(0.5, 1.0)),
        *_grid("vit", depth=(1, 2), dim=(32, 64, 128, 256, 512, 1024), heads=(4, 8, 16)),
        *_grid("bot_trans", expansion=(0.25, 0.5, 1, 2, 3, 4)),
        *_grid("lambda", expansion=(0.25, 0.5, 1, 2, 3, 4)),
    ]


def with_teacher(pool: Iterable[Operation]) -> list[Operation]:
    """A pool that the layer itself is among, first if it was not.

    Args:
        pool: iterable of mappings, the operations.
    """
    pool = list(pool)
    return pool if any(o.get("family") == "teacher" for o in pool) else [TEACHER, *pool]


def operation_name(operation: Operation) -> str:
    """An operation's name, such as `efn_e3_k5`, which no other one has.

    Args:
        operation: dict of its family and options.
    """
    words = [str(operation["family"])]
    for option, value in operation.items():
        if option != "family" and value is not None:
            text = f"{value:.4g}" if isinstance(value, float) else str(value)
            words.append(_SHORT.get(option, option) + text.replace(".", "p"))
    return "_".join(words)


def checked_pool(pool: Iterable[Operation]) -> dict[str, dict]:
    """A pool by name.

    Args:
        pool: iterable of mappings, the operations.

    Raises:
        ConfigError: a family or an option is unknown, or an operation is there twice.
    """
    found = {}
    for operation in pool:
        family = one_of("the family of an operation", operation.get("family"), _families())
        known = _options(family)
        for option in operation:
            if option != "family":
                one_of(f"an option of {family}", option, known)
        name = operation_name(operation)
        if name in found:
            raise ConfigError(f"the pool has {name} twice; leave one of them out")
        found[name] = dict(operation)
    return found


def _families():
    return "teacher", "identity", *FAMILIES


def _options(family) -> list[str]:
    if family not in FAMILIES:
        return []
    return list(inspect.signature(FAMILIES[family]).parameters)[_COMMON:]


def possible(operation: Operation, segment: Segment) -> bool:
    """Whether an operation can stand in the place of a layer.

    Args:
        operation: dict of its family and options.
        segment: the layer, a `Segment`.
    """
    return operation["family"] != "identity" or segment.keeps_shape


def make_operation(
    operation: Operation, segment: Segment, activation: str = "relu"
) -> keras.Model | None:
    """A fresh model that turns a layer's input into what has the shape of its output.

    Where the layer ends with an activation, so does the model.

    Args:
        operation: dict of its family and options; not the teacher.
        segment: the layer, a `Segment`.
        activation: string, name of the activation inside. Defaults to `"relu"`.

    Returns:
        The model; None for the identity.

    Raises:
        ConfigError: the layer's grid is not divided by a whole stride, or the identity does not
            fit.
    """
    if operation["family"] == "identity":
        if not segment.keeps_shape:
            raise ConfigError(f"{segment.name} changes the shape; it cannot be left out")
        return None
    family = FAMILIES[operation["family"]]
    options = {k: v for k, v in operation.items() if k != "family"}
    name = operation_name(operation)
    x = keras.Input(segment.input.shape[1:])
    stride = stride_of(segment)
    y = family(x, segment.output.shape[-1], stride, activation, name, **options)
    last = segment.nodes[-1].operation
    if is_activation(last) and isinstance(last, keras.layers.Layer) and not last.weights:
        y = type(last).from_config({**last.get_config(), "name": f"{name}_last"})(y)
    return keras.Model(x, y, name=name)


def stride_of(segment: Segment) -> int:
    """By how much a layer makes the grid coarser.

    Args:
        segment: the layer, a `Segment`.

    Raises:
        ConfigError: by no whole number that is the same for both sides.
    """
    sides = [(a, b) for a, b in zip(segment.input.shape[1:3], segment.output.shape[1:3])]
    if all(a and b for a, b in sides):
        for stride in range(1, max(a for a, _ in sides) + 1):
            if all(-(-a // stride) == b for a, b in sides):
                return stride
    raise ConfigError(
        f"{segment.name} turns a grid of {segment.input.shape[1:3]} into "
        f"{segment.output.shape[1:3]}; expected sizes that are known and divided by one stride"
    )
