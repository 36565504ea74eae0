"""All defences by name, as configurations state them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from tfgen.errors import ConfigError
from tfgen.ops.checks import one_of
from tfgen.privacy.defence.aggregation import Aggregation
from tfgen.privacy.defence.base import NoDefence
from tfgen.privacy.defence.compression import Quantization, SignCompression, TopKPruning
from tfgen.privacy.defence.noise import DPSGD, GaussianNoise, GradientClipping

DEFENCES: dict[str, type[NoDefence]] = {
    defence.name: defence
    for defence in (
        NoDefence,
        GaussianNoise,
        GradientClipping,
        DPSGD,
        TopKPruning,
        SignCompression,
        Quantization,
        Aggregation,
    )
}


def defence_from_config(config: Mapping[str, Any]) -> NoDefence:
    """A defence from its name and numbers.

    Args:
        config: dict of `name` and the defence's own numbers.

    Raises:
        ConfigError: no such defence, or a number it does not have.
    """
    options = dict(config)
    name = options.pop("name", None)
    one_of("defence", name, DEFENCES)
    known = [field.name for field in dataclasses.fields(DEFENCES[name])]
    for option in options:
        if option not in known:
            raise ConfigError(
                f"defence {name!r} has no number {option!r}; it has {', '.join(known) or 'none'}"
            )
    return DEFENCES[name](**options)
