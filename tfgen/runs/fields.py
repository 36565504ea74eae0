"""Fields of a configuration: what type they have, and whether a value is of it.

A field's type is the annotation of a constructor's argument where there is one, else the type of
its default; one with neither takes anything.
"""

import collections.abc
import difflib
import inspect
import math
import types
import typing
from collections.abc import Collection, Mapping
from typing import Any

from tfgen.errors import ConfigError

REQUIRED = object()  # the default of a field that must be given

_WORDS = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a name",
    type(None): "None",
    collections.abc.Mapping: "named fields",
    collections.abc.Sequence: "a list",
}
_TRUTH = {
    **dict.fromkeys(("true", "yes", "on"), True),
    **dict.fromkeys(("false", "no", "off"), False),
}


def parameter_types(kind: type) -> dict[str, Any]:
    """The type of every argument of a class's constructor that has an annotation or a default."""
    found, hints = {}, typing.get_type_hints(kind.__init__)
    for name, parameter in inspect.signature(kind.__init__).parameters.items():
        if name in hints:
            found[name] = hints[name]
        elif parameter.default not in (parameter.empty, None):
            found[name] = type(parameter.default)
    return found


def typed(name: str, value: Any, expected: Any, example: Any = None) -> Any:
    """A value as its field has it: a whole number where a number is wanted, `yes` as True.

    Args:
        name: string, the field's name, for the message.
        value: any value, as it was given; on the command line a word stays a string.
        expected: a type, a union of types, or `Any`.
        example: string or number that is right, for the message, or None.

    Raises:
        ConfigError: it is of another type, or a number that is not finite.
    """
    kinds = _alternatives(expected)
    if kinds and isinstance(value, list | tuple) and list(value) == [None]:
        value = None  # `=None` of a field that holds a tuple, as config_flags reads it
    if not kinds or any(_is(value, kind) for kind in kinds):
        return _finite(name, value)
    if bool in kinds and isinstance(value, str) and value.lower() in _TRUTH:
        return _TRUTH[value.lower()]
    if type(None) in kinds and value == "None":
        return None
    words = " or ".join(dict.fromkeys(_WORDS[kind] for kind in kinds))
    like = "" if example is None or example is REQUIRED else f", for example {example!r}"
    raise ConfigError(f"{name} is {value!r}; expected {words}{like}")


def _finite(name, value):
    numbers = value if isinstance(value, list | tuple) else [value]
    for number in numbers:
        if isinstance(number, float) and not math.isfinite(number):
            raise ConfigError(f"{name} is {value!r}; expected a finite number")
    return value


def _alternatives(expected) -> list[type]:
    """The plain types that a field takes; none if it takes anything."""
    if expected is Any:
        return []
    if typing.get_origin(expected) in (typing.Union, types.UnionType):
        found = [_alternatives(part) for part in typing.get_args(expected)]
        return [kind for part in found for kind in part] if all(found) else []
    kind = typing.get_origin(expected) or expected
    if kind in _WORDS:
        return [kind]
    if isinstance(kind, type) and issubclass(kind, collections.abc.Mapping):
        return [collections.abc.Mapping]
    if isinstance(kind, type) and issubclass(kind, collections.abc.Sequence | list | tuple):
        return [collections.abc.Sequence]
    return []


def _is(value, kind: type) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if kind is collections.abc.Sequence:
        return isinstance(value, list | tuple)
    return isinstance(value, kind)


def complete_section(
    name: str,
    given: Mapping[str, Any],
    defaults: Mapping[str, Any],
    kinds: Mapping[str, Any],
) -> dict[str, Any]:
    """A section with every field: those given, checked, and the others' defaults.

    Args:
        name: string, the section's name, such as `config.data`.
        given: dict of what the configuration says.
        defaults: dict of the defaults of every field, `REQUIRED` for those without one.
        kinds: dict of the types of the fields whose default does not say it.

    Raises:
        ConfigError: a field that does not exist, of another type, or missing.
    """
    completed = {}
    for field in given:
        check_known(field, defaults, name)
    for field, default in defaults.items():
        if field not in given:
            if default is REQUIRED:
                raise ConfigError(f"{name}.{field} is missing; it has no default")
            completed[field] = _copied(default)
            continue
        kind = kinds.get(field, Any if default in (None, REQUIRED) else type(default))
        value = typed(f"{name}.{field}", given[field], kind, default)
        completed[field] = value
    return completed


def _copied(value):
    if isinstance(value, Mapping):
        return {key: _copied(item) for key, item in value.items()}
    return list(value) if isinstance(value, list | tuple) else value


def check_known(name: str, known: Collection[str], where: str) -> None:
    """Refuses a name that does not exist.

    Raises:
        ConfigError: it does not, with the nearest that does.
    """
    if name in known:
        return
    nearest = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.4)
    hint = f"did you mean {nearest[0]!r}?" if nearest else f"it has {', '.join(sorted(known))}"
    raise ConfigError(f"{where} has no field {name!r}; {hint}")
