"""Configurations: completed with defaults, checked field by field, written down and compared."""

import dataclasses
import inspect
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from tfgen.errors import ConfigError
from tfgen.runs.evaluators import EVALUATORS
from tfgen.runs.fields import check_known, complete_section, parameter_types, typed
from tfgen.systems.registry import SYSTEMS, System, arguments_of, find_system

# Every field of the sections that are not the model's, with its default.
DEFAULTS: dict[str, dict[str, Any]] = {
    "data": dict(
        name="digits",
        split="train",
        batch_size=64,
        num_bits=None,  # those of the model
        binarize=None,
        flip=False,
        classes=None,  # those to train on, of data with labels; None: all
        crop_padding=None,
        resized_crop=None,  # least share of an image's area that training takes
        colour_jitter=None,  # strengths: brightness, contrast, saturation, hue
        held_out=0.0,  # part of the training images set aside for early stopping
    ),
    "optimizer": dict(
        name="adamax",
        learning_rate=1e-2,
        warmup_epochs=5,
        final_learning_rate=1e-4,
        weight_decay=3e-4,
        epsilon=1e-3,
        ema_momentum=None,
        per_step=None,  # whether the cosine moves with every step; None: that of SGD does
        base=None,  # fields that differ for the model underneath, where it learns along
    ),
    "training": dict(
        epochs=1,
        steps_per_epoch=None,
        report_steps=50,
        steps_per_execution=1,
        max_consecutive_skips=20,
        seed=0,
        max_minutes=None,
    ),
    "evaluation": dict(  # and the fields of the system's evaluators
        split="test",
        num_images=None,
        batch_size=100,
    ),
}
# The types of fields whose default is None.
KINDS: dict[str, dict[str, Any]] = {
    "data": dict(
        num_bits=int | None,
        binarize=str | None,
        classes=Sequence | None,
        crop_padding=int | None,
        resized_crop=float | None,
        colour_jitter=Sequence | None,
    ),
    "optimizer": dict(ema_momentum=float | None, per_step=bool | None, base=Mapping | None),
    "training": dict(steps_per_epoch=int | None, max_minutes=float | None),
    "evaluation": dict(num_images=int | None),
}
SECTIONS = ("model", *DEFAULTS)

# Fields that hold a count of at least one.
_COUNTS = {
    "data": ("batch_size", "crop_padding"),
    "training": ("epochs", "steps_per_epoch", "steps_per_execution", "report_steps"),
    "evaluation": ("num_images", "num_importance_samples", "batch_size"),
}
_POSITIVE = {"optimizer": ("learning_rate", "epsilon"), "training": ("max_minutes",)}


def complete(config: Mapping[str, Any]) -> dict[str, dict]:
    """Checks a configuration of a training and fills in what it leaves out.

    Args:
        config: sections `model`, `data`, `optimizer`, `training`, `evaluation`, the latter four
            optional in whole or in part; and `vae`, see `tfgen.runs.base_model`.

    Returns:
        A plain dict of the same form with every field of the four sections, and those of the
        model that were given.

    Raises:
        ConfigError: a section, field or value that does not exist, with the nearest that does.
    """
    config = to_plain(config)
    base = {field: config.pop(field, None) for field in _base_fields()}
    check_sections(config, SECTIONS)
    system = find_system(config.get("model", {}).get("name"))
    kind = system.load()
    completed = {"model": _model_section(kind, config["model"])}
    for section, defaults in section_defaults(system).items():
        given = config.get(section, {})
        completed[section] = complete_section(f"config.{section}", given, defaults, KINDS[section])
    _check_base_optimizer(completed["optimizer"], system)
    _check_ranges(completed)
    if "seed" in arguments_of(kind):
        completed["model"].setdefault("seed", completed["training"]["seed"])
    _match_bits(completed["model"], completed["data"])
    for field, path in base.items():
        if path is not None:
            completed[field] = typed(f"config.{field}", path, str)
    return completed


def _check_base_optimizer(section, system: System) -> None:
    """The optimizer of a model underneath has the fields of the other, and something to do."""
    given = section["base"]
    if given is None:
        return
    if system.base is None or system.base.frozen:
        raise ConfigError(
            "config.optimizer.base is given, but no model underneath learns along; leave it out"
        )
    defaults = {k: v for k, v in section.items() if k != "base"}
    kinds = {**KINDS["optimizer"], "weight_decay": float | None}
    complete_section("config.optimizer.base", given, defaults, kinds)


def _base_fields() -> set[str]:
    """Names that are no sections: of the model that a system stands on, a preset or a path."""
    return {row.base.argument for row in SYSTEMS.values() if row.base is not None}


def section_defaults(system: System) -> dict[str, dict[str, Any]]:
    """Every field of the sections that are not the model's, with its default, for one system."""
    fields = {}
    for name in system.evaluators:
        fields |= {field.name: field.default for field in dataclasses.fields(EVALUATORS[name])}
    return {**DEFAULTS, "evaluation": {**DEFAULTS["evaluation"], **fields}}


def check_sections(config: Mapping[str, Any], sections: Collection[str]) -> None:
    """Refuses sections that do not exist or hold no fields.

    Raises:
        ConfigError: of the first that is found.
    """
    for section, fields in config.items():
        check_known(section, sections, "config")
        if not isinstance(fields, Mapping):
            raise ConfigError(f"config.{section} is {fields!r}; expected named fields")


def _model_section(kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """The given arguments of a system's constructor, each of its type."""
    arguments, kinds = arguments_of(kind), parameter_types(kind)
    completed = {}
    for field, value in given.items():
        check_known(field, ["name", *arguments], "config.model")
        if field in kinds and field in arguments:
            default = arguments[field].default
            value = typed(f"config.model.{field}", value, kinds[field], _example(default))
        completed[field] = value
    return completed


def _example(default):
    return None if default is inspect.Parameter.empty else default


def differences(old: Mapping, new: Mapping, sections: Iterable[str]) -> list[str]:
    """What differs between two configurations, one `section.field: old -> new` each."""
    found = []
    for section in sections:
        a, b = to_plain(old.get(section, {})), to_plain(new.get(section, {}))
        for field in sorted({*a, *b}):
            if a.get(field) != b.get(field):
                found.append(f"{section}.{field}: {a.get(field)!r} -> {b.get(field)!r}")
    return found


def to_plain(value: Any) -> Any:
    """Dicts, lists and scalars as JSON holds them: tuples become lists, ConfigDicts dicts."""
    if hasattr(value, "to_dict"):
        value = value.to_dict()
    if isinstance(value, Mapping):
        return {key: to_plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_plain(item) for item in value]
    return value


def _match_bits(model, data):
    """A model of 5-bit images wants 5-bit images, or its likelihood means nothing."""
    base = find_system(model["name"]).base
    if base is not None:  # the images are those of the generator underneath
        model = model.get(base.argument, model)
    if data["num_bits"] is None:
        data["num_bits"] = model.get("num_bits", 8)
    elif (
        model.get("decoder") == "logistic_mixture" and model.get("num_bits", 8) != data["num_bits"]
    ):
        raise ConfigError(
            f"config.data.num_bits is {data['num_bits']}, but config.model.num_bits is "
            f"{model.get('num_bits', 8)}; set one to the other"
        )


def _check_ranges(config):
    for section, fields in _COUNTS.items():
        for field in fields:
            value = config[section].get(field)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ConfigError(f"config.{section}.{field} is {value!r}; expected at least 1")
    for section, fields in _POSITIVE.items():
        for field in fields:
            value = config[section][field]
            if value is not None and not value > 0:
                raise ConfigError(f"config.{section}.{field} is {value!r}; expected above 0")
    held_out = config["data"]["held_out"]
    if not 0 <= held_out <= 0.5:
        raise ConfigError(f"config.data.held_out is {held_out!r}; expected it in [0, 0.5]")
    momentum = config["optimizer"]["ema_momentum"]
    if momentum is not None and not 0 <= momentum <= 1:
        raise ConfigError(
            f"config.optimizer.ema_momentum is {momentum!r}; expected a number in [0, 1] or None"
        )
