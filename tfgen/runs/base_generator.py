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
from tfgen.systems.registry import SYSTEMS
from tfgen.training import load_weights_only

# Fields of the data that the generator's own run decides unless they are given.
_INHERITED = ("name", "split", "num_bits", "binarize", "flip")


def resolve(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with the generator that it stands on written into it.

    Args:
        config: as the user gave it.

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
    path = config.get("vae")
    if SYSTEMS[name].base is None:
        if path is not None:
            raise ConfigError(f"config.vae is {path!r}, but {name!r} stands on no other generator")
        return config
    if path is None:
        raise ConfigError(
            f"config.vae is missing: {name!r} stands on a trained generator; give its workdir or "
            "preset, for example --config.vae=runs/mnist"
        )
    base = presets.read_config(presets.find_preset(path))
    data = {k: v for k, v in base.get("data", {}).items() if k in _INHERITED and v is not None}
    given = {k: v for k, v in config.get("data", {}).items() if v is not None}
    return {**config, "model": {**model, "vae": base["model"]}, "data": {**data, **given}}


def foreign_data(config: Mapping[str, Any]) -> str | None:
    """A sentence for a configuration that names other data than those its generator learned from.

    Args:
        config: resolved.
    """
    if config.get("vae") is None:
        return None
    known = presets.read_config(presets.find_preset(config["vae"])).get("data", {}).get("name")
    named = config["data"].get("name")
    if known is None or known == named:
        return None
    return (
        f"note: the data are {named!r}, but the generator {config['vae']} was trained on {known!r}"
    )


def load_base(model: keras.Model, path: str) -> None:
    """Gives a model's generator the weights that lie at `path` (averages, where there are any).

    Raises:
        CheckpointError: they are missing or belong to another architecture.
    """
    load_weights_only(model.vae, presets.find_preset(path) / presets.CHECKPOINTS)


def fingerprint(model: keras.Model) -> str:
    """SHA-256 of all weights of the generator that a model stands on, to the last bit."""
    digest = hashlib.sha256()
    for variable in model.vae.weights:
        digest.update(np.ascontiguousarray(variable.numpy()).data)
    return digest.hexdigest()


def check_unchanged(model: keras.Model, before: str, path: str) -> None:
    """Raises `CheckpointError` if the generator's weights are not those of the fingerprint."""
    if fingerprint(model) != before:
        raise CheckpointError(
            f"the weights of the generator from {path} are not those that this run began with; "
            "choose another --workdir, or the generator it was made with"
        )
