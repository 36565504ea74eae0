"""Models over a frozen generator: which one a configuration means, and that it stays as it was.

`--config.vae` names a trained generator: a preset, or the path of a preset or a workdir. Its
configuration becomes `model.vae` of the run, so that the run's folder is whole without it, and its
weights are loaded before training. They are fingerprinted before and after.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np

from tfgen.errors import CheckpointError, ConfigError
from tfgen.runs.config import to_plain
from tfgen.systems import presets
from tfgen.systems.registry import SYSTEMS, Base, find_system
from tfgen.training import load_weights_only

# Fields of the data that the generator's own run decides unless they are given.
_INHERITED = ("name", "split", "num_bits", "binarize", "flip")


def resolve(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the generator that it stands on written into it.

    Args:
        config: dict, as the user gave it.

    Returns:
        A plain copy: `model.vae` is the generator's `model` section, and the data are those that
        the generator was trained on, where the configuration does not say otherwise. A model that
        stands on nothing is returned as it is.

    Raises:
        ConfigError: a generator is needed and not named, or named and not needed.
    """
    config = to_plain(config)
    model = config.get("model")
    name = model.get("name") if isinstance(model, dict) else None
    if name not in SYSTEMS:
        return config  # `complete` says so
    base = SYSTEMS[name].base
    _refuse_other_bases(config, name, base)
    if base is None:
        return config
    field = base.argument
    path = config.get(field)
    if path is None and not base.frozen and isinstance(model.get(field), dict):
        return config  # a recipe that describes it; its weights learn from the start
    if path is None:
        raise ConfigError(
            f"config.{field} is missing: {name!r} stands on a trained model; give its workdir or "
            f"preset, for example --config.{field}=runs/mnist"
        )
    under = presets.read_config(presets.find_preset(path))
    data = {k: v for k, v in under.get("data", {}).items() if k in _INHERITED and v is not None}
    given = {k: v for k, v in config.get("data", {}).items() if v is not None}
    return {**config, "model": {**model, field: under["model"]}, "data": {**data, **given}}


def _refuse_other_bases(config, name, base):
    """What a configuration names beside its sections is what its system stands on, or a mistake."""
    for field in {row.base.argument for row in SYSTEMS.values() if row.base is not None}:
        if config.get(field) is not None and (base is None or field != base.argument):
            raise ConfigError(
                f"config.{field} is {config[field]!r}, but {name!r} stands on no other model"
                f"{'' if base is None else f' than its {base.argument}'}"
            )


def base_of(config: Mapping[str, Any]) -> tuple[Base, str] | tuple[None, None]:
    """What a configuration's system stands on, and the preset or workdir that it names."""
    base = find_system(config["model"]["name"]).base
    path = None if base is None else config.get(base.argument)
    return (None, None) if path is None else (base, path)


def foreign_data(config: Mapping[str, Any]) -> str | None:
    """A sentence for a configuration that names other data than those its base learned from.

    Args:
        config: dict, resolved.
    """
    _, path = base_of(config)
    if path is None:
        return None
    known = presets.read_config(presets.find_preset(path)).get("data", {}).get("name")
    named = config["data"].get("name")
    if known is None or known == named:
        return None
    return f"note: the data are {named!r}, but the generator {path} was trained on {known!r}"


def load_base(model: keras.Model, config: Mapping[str, Any]) -> str | None:
    """Gives what a model stands on the weights that lie there (averages, where there are any).

    Returns:
        The fingerprint of a base that training leaves as it is, or None.

    Raises:
        CheckpointError: they are missing or belong to another architecture.
    """
    base, path = base_of(config)
    if base is None:
        return None
    under = getattr(model, base.argument)
    load_weights_only(under, presets.find_preset(path) / presets.CHECKPOINTS)
    return fingerprint(under) if base.frozen else None


def fingerprint(model: keras.Model) -> str:
    """SHA-256 of all weights of a model, to the last bit."""
    digest = hashlib.sha256()
    for variable in model.weights:
        digest.update(np.ascontiguousarray(variable.numpy()).data)
    return digest.hexdigest()


def check_unchanged(model: keras.Model, before: str, config: Mapping[str, Any]) -> None:
    """Raises `CheckpointError` if the weights of what a model stands on are not as before."""
    base, path = base_of(config)
    if fingerprint(getattr(model, base.argument)) != before:
        raise CheckpointError(
            f"the weights of the generator from {path} are not those that this run began with; "
            "choose another --workdir, or the generator it was made with"
        )
