"""What samplers are given, looked at before the first step: one sentence instead of a shape error.

Tensors whose values are not known yet, within a graph, are taken as they are.
"""

import math
import operator
from typing import Any

import numpy as np
import tensorflow as tf

from tfgen.errors import ConfigError, UserError


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


def in_range(name: str, value: Any, least: float, *, above: bool = False, below: float = math.inf):
    """Raises a ConfigError unless all numbers lie in a range and are finite.

    Args:
        name: string, what they are called, for the message.
        value: a number, array or tensor; one that is not known yet passes.
        least: float, lower limit.
        above: whether the limit itself is too little. Default: `False`.
        below: float, upper limit, itself too much; infinity by default.
    """
    known = tf.get_static_value(value) if tf.is_tensor(value) else value
    if known is None:
        return
    try:
        numbers = np.asarray(known, np.float64)
    except (TypeError, ValueError):
        raise ConfigError(f"{name} is {known!r}; expected a number") from None
    enough = numbers > least if above else numbers >= least
    if not np.all(enough & (numbers < below)):
        lower = f"above {least:g}" if above else f"at least {least:g}"
        upper = "finite" if below == math.inf else f"below {below:g}"
        raise ConfigError(f"{name} is {known}; expected {lower} and {upper}")


def one_per_chain(name: str, value: tf.Tensor, num_chains) -> tf.Tensor:
    """A tensor that has to be `[B]`, or why it is none.

    Args:
        name: string, what it is, for the message.
        value: of the user's function.
        num_chains: B, a number where it is known.

    Returns:
        The tensor.

    Raises:
        UserError: another shape. A sum or mean over chains would mix them up, or divide their
            gradients.
    """
    count = num_chains if isinstance(num_chains, int) else None
    if not value.shape.is_compatible_with([count]):
        raise UserError(
            f"{name} has shape {tuple(value.shape)}; expected ({'B' if count is None else count},),"
            " one number of each chain: reduce over all axes but the first"
        )
    return value


def scalar_or_per_chain(name: str, value: tf.Tensor, num_chains) -> None:
    """Raises a UserError unless a tensor is a scalar or `[B]`."""
    if value.shape.rank != 0:
        one_per_chain(name, value, num_chains)
