"""What metrics.json holds, looked at before it is shown: anyone may have written it."""

import math
import types
import typing
from collections.abc import Mapping
from typing import Any


def with_nan(value: Any) -> Any:
    """Metrics as they were measured: NaN for what JSON keeps as `null`, to be printed as numbers.

    Args:
        value: dictionary, list or number, what `Workdir.read_metrics` gave, or a part of it.
    """
    if isinstance(value, dict):
        return {key: with_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_nan(item) for item in value]
    return math.nan if value is None else value


Kind = type | types.UnionType


def misfit(found: Mapping[str, Any], shown: Mapping[str, Kind]) -> str | None:
    """Why values cannot be shown, or None if they can.

    Args:
        found: dict of values by name, see `with_nan`.
        shown: dict of what is to be shown by name: `float` for a number, `list` for a list of
            numbers, `tuple` for a list of two, `str` for a text on one line; in a union with None
            what may be left out.
    """
    for name, kind in shown.items():
        optional = isinstance(kind, types.UnionType)
        kind = typing.get_args(kind)[0] if optional else kind
        if name not in found:
            if optional:
                continue
            return f"{name!r} is missing"
        if not _IS[kind](found[name]):
            return f"{name!r} is {str(found[name])[:40]!r}, expected {_WORDS[kind]}"
    return None


def is_text(value: Any) -> bool:
    """Whether a value is a text that a line of Markdown can hold as it stands."""
    return isinstance(value, str) and value.isprintable() and not set(value) & set("|<>`[]\\")


def _is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are_numbers(value):
    return isinstance(value, list) and all(map(_is_number, value))


def _is_pair(value):
    return _are_numbers(value) and len(value) == 2


_IS = {float: _is_number, list: _are_numbers, tuple: _is_pair, str: is_text}
_WORDS = {
    float: "a number",
    list: "a list of numbers",
    tuple: "two numbers",
    str: "a text on one line",
}
