"""Configurations of transformations, completed and checked field by field."""

import inspect
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tfgen.errors import ConfigError
from tfgen.ops.checks import in_range, one_of
from tfgen.runs.config import check_sections, to_plain
from tfgen.runs.fields import REQUIRED, complete_section
from tfgen.search.hant.scores import MEASURES
from tfgen.search.hant.teachers import application, mobile_network
from tfgen.search.latency import BACKENDS

# Where a network comes from: the arguments of what makes it, or the fields of a file.
SOURCES: dict[str, Callable | dict[str, Any]] = {
    "mobile": mobile_network,
    "application": application,
    "file": dict(path=REQUIRED, pixel_scale=1.0, pixel_offset=0.0),
    "workdir": dict(path=REQUIRED),
}
RUNTIMES = tuple(name for name in BACKENDS if name != "replayed")
_PRECISIONS = {name: BACKENDS[name].precisions for name in RUNTIMES}
POOLS = ("small", "full", "skip")
METHODS = ("post_training", "fake_quant", "tfmot")
_TRAINING: dict[str, Any] = dict(
    epochs=10,
    steps_per_epoch=None,
    optimizer="adamw",
    learning_rate=2e-3,
    warmup_epochs=1,
    weight_decay=1e-3,
)
# Every field of the sections that are not the network's, with its default.
DEFAULTS: dict[str, dict[str, Any]] = {
    "data": dict(
        name=REQUIRED,
        split="train",
        held_out=0.1,  # part of the training images by which plans are compared
        batch_size=128,
        flip=False,
        crop_padding=None,
    ),
    "teacher": dict(_TRAINING, label_smoothing=0.0),  # of a network that is not trained yet
    "pool": dict(
        name="small",
        operations=None,  # instead: dicts of a family and its options
        activation="relu",
        boundaries=None,
    ),
    "distillation": dict(
        epochs=1, steps_per_epoch=None, batch_size=64, learning_rate=2e-3, at_once=8
    ),
    "scores": dict(measure="kl", num_images=2048, batch_size=64),
    "latency": dict(
        backend="litert",
        threads=1,
        batch_size=1,
        precision="float32",  # what is planned for: with LiteRT also "int8"
        num_runs=60,
        repeat=16,
        calibrate=0,  # whole networks that are measured beside the layers, so that sums are right
        table=None,  # of another device, where it was measured
    ),
    "plan": dict(
        name="student",  # the folder of what comes of it
        budget=0.5,  # in multiples of what the network takes
        budget_ms=None,
        num_plans=20,
        overlap=0.7,
        patience=10.0,
        gap=0.0,
        num_images=2048,
        refinements=0,
        grouping=1,  # layers in a row that one operation may stand for, at most
    ),
    "fine_tuning": dict(_TRAINING, temperature=2.0, student_loss_weight=0.5),
    "quantization": dict(
        method="post_training",  # or, which train once more, "fake_quant" or "tfmot"
        num_images=256,  # by which ranges are found
        float_stem=False,  # whether the first convolution stays in float32
        training_images=10_000,
        epochs=1,
        batch_size=64,
        learning_rate=1e-4,
    ),
    "evaluation": dict(split="test", batch_size=100),
    "training": dict(seed=0),
}
KINDS: dict[str, dict[str, Any]] = {
    "data": dict(name=str, crop_padding=int | None),
    "teacher": dict(steps_per_epoch=int | None),
    "pool": dict(operations=Sequence | None, boundaries=Sequence | None),
    "distillation": dict(steps_per_epoch=int | None),
    "latency": dict(table=str | None),
    "plan": dict(budget=float | None, budget_ms=float | None, patience=float | None),
    "fine_tuning": dict(steps_per_epoch=int | None),
    "quantization": dict(method=str | None),
}
_COUNTS = {
    "data": ("batch_size",),
    "teacher": ("epochs", "steps_per_epoch"),
    "distillation": ("epochs", "steps_per_epoch", "batch_size", "at_once"),
    "scores": ("num_images", "batch_size"),
    "latency": ("threads", "batch_size", "num_runs"),
    "plan": ("num_plans", "num_images", "grouping"),
    "fine_tuning": ("epochs", "steps_per_epoch"),
    "quantization": ("num_images", "training_images", "epochs", "batch_size"),
    "evaluation": ("batch_size",),
}


def complete(config: Mapping[str, Any]) -> dict[str, dict]:
    """Checks a configuration of a transformation and fills in what it leaves out.

    Args:
        config: mapping of names to the fields of sections, `model` and `data` among them.

    Returns:
        A plain dict of all sections with all their fields.

    Raises:
        ConfigError: a section or field that does not exist, is missing, of another type or out of
            range.
    """
    config = to_plain(config)
    check_sections(config, ["model", *DEFAULTS])
    completed = {"model": _model_section(config.get("model") or {})}
    for section, defaults in DEFAULTS.items():
        completed[section] = complete_section(
            f"config.{section}", config.get(section) or {}, defaults, KINDS.get(section, {})
        )
    _check_ranges(completed)
    return to_plain(completed)


def is_trained_here(config: Mapping[str, Any]) -> bool:
    """Whether the network that is made fast has to be trained first.

    Args:
        config: dict, complete.
    """
    model = config["model"]
    return model["source"] == "mobile" or model.get("weights", "file") is None


def _model_section(given) -> dict[str, Any]:
    source = one_of("config.model.source", given.get("source"), SOURCES)
    made = SOURCES[source]
    if isinstance(made, dict):
        defaults, kinds = made, dict(path=str)
    else:
        parameters = inspect.signature(made).parameters
        defaults = {
            name: REQUIRED if p.default is p.empty else p.default for name, p in parameters.items()
        }
        kinds = typing.get_type_hints(made)
    own = {key: value for key, value in given.items() if key != "source"}
    return {"source": source, **complete_section("config.model", own, defaults, kinds)}


def _check_ranges(config):
    for section, fields in _COUNTS.items():
        for field in fields:
            value = config[section][field]
            if value is not None and value < 1:
                raise ConfigError(f"config.{section}.{field} is {value!r}; expected at least 1")
    share = config["data"]["held_out"]
    if not 0 < share <= 0.5:
        raise ConfigError(f"config.data.held_out is {share!r}; expected it in (0, 0.5]")
    one_of("config.pool.name", config["pool"]["name"], POOLS)
    one_of("config.scores.measure", config["scores"]["measure"], MEASURES)
    backend = one_of("config.latency.backend", config["latency"]["backend"], RUNTIMES)
    precision = config["latency"]["precision"]
    one_of(f"config.latency.precision of {backend}", precision, _PRECISIONS[backend])
    method = one_of(
        "config.quantization.method", config["quantization"]["method"], (None, *METHODS)
    )
    if precision == "int8" and method is None:
        raise ConfigError(
            "config.latency.precision is 'int8' and config.quantization.method None; a plan for "
            f"int8 ends with a network in int8: choose a method, one of {', '.join(METHODS)}"
        )
    if config["quantization"]["float_stem"] and method != "post_training":
        raise ConfigError(
            f"config.quantization.float_stem is True and config.quantization.method {method!r}; "
            "only 'post_training' leaves a first convolution in float32"
        )
    plan = config["plan"]
    for field in ("budget", "budget_ms"):
        if plan[field] is not None:
            in_range(f"config.plan.{field}", plan[field], 0.0, above=True)
    if plan["budget"] is None and plan["budget_ms"] is None:
        raise ConfigError(
            "config.plan.budget is None; expected a share of the network's latency, or "
            "milliseconds in config.plan.budget_ms"
        )
    in_range("config.plan.overlap", plan["overlap"], 0.0, most=1.0)
    if plan["grouping"] > 1 and plan["refinements"]:
        raise ConfigError(
            f"config.plan.refinements is {plan['refinements']} and config.plan.grouping "
            f"{plan['grouping']}; only plans of single layers are refined: set one to its default"
        )
    if not str(plan["name"]).isidentifier():
        raise ConfigError(
            f"config.plan.name is {plan['name']!r}; expected letters, digits and underscores, the "
            "name of a folder"
        )
    for name in ("teacher", "library", "logs"):
        if plan["name"] == name:
            raise ConfigError(f"config.plan.name is {name!r}, which is the name of another folder")
