"""Numbers and choices that are given, looked at at once: one sentence instead of an error later.

Tensors whose values are not known yet, within a graph, are taken as they are.
"""

import math
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError


def one_of(name: str, value: Any, choices: Iterable) -> Any:
    """A value that has to be among some.

    Args:
        name: string, what it is called, for the message.
        value: string or number, or anything else, which is refused.
        choices: iterable of strings or numbers, all there are.

    Returns:
        The value.

    Raises:
        ConfigError: it is none of them.
    """
    known = list(choices)
    if value not in known:
        raise ConfigError(f"{name} is {value!r}; expected one of {', '.join(map(str, known))}")
    return value


def whole_number(name: str, value: Any, least: int, most: float = math.inf) -> int:
    """A whole number in a range, as a Python integer.

    Args:
        name: string, what it is called, for the message.
        value: a number, or anything else, which is refused.
        least: integer, the smallest allowed.
        most: number, the largest allowed; infinity by default.

    Returns:
        The number.

    Raises:
        ConfigError: it is none, or out of range.
    """
    try:
        number = operator.index(value)
    except TypeError:
        raise ConfigError(f"{name} is {value!r}; expected a whole number") from None
    if not least <= number <= most:
        limit = f"at least {least}" if most == math.inf else f"{least} to {most}"
        raise ConfigError(f"{name} is {number}; expected {limit}")
    return number


def in_range(
    name: str,
    value: Any,
    least: float,
    *,
    above: bool = False,
    below: float = math.inf,
    most: float = math.inf,
) -> None:
    """Raises a ConfigError unless all numbers lie in a range and are finite.

    Args:
        name: string, what they are called, for the message.
        value: a number, array or tensor; one that is not known yet passes.
        least: float, lower limit.
        above: whether the limit itself is too little. Default: `False`.
        below: float, upper limit, itself too much; infinity by default.
        most: float, upper limit that is allowed; infinity by default.
    """
    known = tf.get_static_value(value) if tf.is_tensor(value) else value
    if known is None:
        return
    try:
        numbers = np.asarray(known, np.float64)
    except (TypeError, ValueError):
        raise ConfigError(f"{name} is {known!r}; expected a number") from None
    enough = numbers > least if above else numbers >= least
    if not np.all(enough & (numbers < below) & (numbers <= most)):
        lower = f"above {least:g}" if above else f"at least {least:g}"
        upper = "finite" if below == math.inf else f"below {below:g}"
        upper = upper if most == math.inf else f"at most {most:g}"
        raise ConfigError(f"{name} is {known}; expected {lower} and {upper}")
