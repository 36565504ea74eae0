"""Small objects by name: "vpsde", or a dict of the name and numbers, instead of a class."""

import dataclasses
from collections.abc import Mapping

from tfgen.errors import ConfigError


def kind_from_config(what: str, kinds: Mapping[str, type], config):
    """One of some dataclasses, from its name, or from a dict of the name and its fields.

    Args:
        what: string, what they are, for messages: "sde".
        kinds: dict of names to dataclasses.
        config: string, dict with "name", or an object that is one already.

    Returns:
        The object.

    Raises:
        ConfigError: there is no such kind, or it has no such field.
    """
    if isinstance(config, tuple(kinds.values())):
        return config
    options = {"name": config} if not isinstance(config, Mapping) else dict(config)
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in kinds:
        raise ConfigError(f"{what} {name!r} is unknown; choose one of {', '.join(kinds)}")
    fields = [field.name for field in dataclasses.fields(kinds[name])]
    if unknown := set(options) - set(fields):
        raise ConfigError(
            f"{what} {name!r} has no {', '.join(sorted(unknown))}; it has {', '.join(fields)}"
        )
    return kinds[name](**options)


def config_of(kinds: Mapping[str, type], thing) -> dict:
    """The dict from which `kind_from_config` makes the object again."""
    name = next(name for name, kind in kinds.items() if kind is type(thing))
    return {"name": name, **dataclasses.asdict(thing)}
