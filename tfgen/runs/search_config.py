"""The configuration of a search: its fields, their defaults and what they may be."""

import inspect
from collections.abc import Mapping
from typing import Any

from tfgen.errors import ConfigError
from tfgen.ops.checks import in_range, whole_number
from tfgen.runs.config import check_sections, to_plain
from tfgen.runs.fields import REQUIRED, complete_section, parameter_types
from tfgen.search.unas import UNAS, Criterion
from tfgen.search.unas.measures import COUNTS

# Every field with its default; REQUIRED has none. Those of `model` are arguments of `UNAS`.
DEFAULTS: dict[str, dict[str, Any]] = {
    "data": dict(
        name=REQUIRED,
        split="train",
        validation=0.1,  # part of the images that weights never see
        num_images=None,
        batch_size=128,
        flip=False,
        crop_padding=None,
    ),
    "training": dict(
        warmup_epochs=15,
        epochs=85,
        steps_per_epoch=None,
        weight_rates=(6e-4, 1e-4),
        logit_rates=(2e-3, 3e-4),
        ema_momentum=None,  # of averages of the weights, with which candidates are measured
        report_steps=50,
        max_consecutive_skips=20,
        num_genotypes=5,
        num_candidates=16,  # of the most probable architectures, measured at the end
        candidate_batches=10,  # pairs of batches on which they are
        seed=0,
    ),
}
KINDS: dict[str, dict[str, Any]] = {
    "data": dict(name=str, num_images=int | None, crop_padding=int | None),
    "training": dict(steps_per_epoch=int | None, ema_momentum=float | None),
}
_COUNTS = {
    "data": ("num_images", "batch_size"),
    "training": (
        "steps_per_epoch",
        "report_steps",
        "max_consecutive_skips",
        "num_genotypes",
        "num_candidates",
        "candidate_batches",
    ),
}
_OWN = ("criteria", "groups", "seed", "name")  # arguments of UNAS that other sections give
# Of a criterion: what is measured, and of latencies, where.
MEASURES = ("latency", *COUNTS)
LATENCY = dict(
    table=None,  # a table that was measured before, or where to keep it; None: in the workdir
    backend="keras",
    threads=1,
    batch_size=1,
    precision="float32",
    reference=False,  # whether one takes turns with the parts, on machines that are never quiet
    calibrate=0,  # whole networks that are measured beside the parts, so that sums are right
    network=None,  # sizes that differ from the supernet's, such as those of the final network
)


def complete(config: Mapping[str, Any]) -> dict[str, Any]:
    """Checks a configuration of a search and fills in what it leaves out.

    Raises:
        ConfigError: a section or field that does not exist, is missing or of another type.
    """
    config = to_plain(config)
    check_sections(config, ["model", "criteria", *DEFAULTS])
    completed = {"model": _arguments("config.model", config.get("model") or {}, UNAS, _OWN)}
    if not isinstance(completed["model"].get("supernet"), Mapping):
        raise ConfigError(
            "config.model.supernet is missing; expected named fields, such as name='cells'"
        )
    completed["criteria"] = {
        name: _criterion_section(f"config.criteria.{name}", section)
        for name, section in (config.get("criteria") or {}).items()
    }
    for section, defaults in DEFAULTS.items():
        given = config.get(section) or {}
        completed[section] = complete_section(f"config.{section}", given, defaults, KINDS[section])
    for section, fields in _COUNTS.items():
        for field in fields:
            if (value := completed[section][field]) is not None:
                whole_number(f"config.{section}.{field}", value, 1)
    share = completed["data"]["validation"]
    if not 0 < share <= 0.5:
        raise ConfigError(f"config.data.validation is {share!r}; expected it in (0, 0.5]")
    if (momentum := completed["training"]["ema_momentum"]) is not None:
        in_range("config.training.ema_momentum", momentum, 0.0, most=1.0)
    for field in ("weight_rates", "logit_rates"):
        if len(completed["training"][field]) != 2:
            raise ConfigError(f"config.training.{field} are {completed['training'][field]!r}; "
                              "expected the first and the last")  # fmt: skip
    return completed


def _arguments(where: str, given, kind: type, left_out) -> dict[str, Any]:
    """Arguments of a constructor, each of its type, without what is not given."""
    parameters = inspect.signature(kind.__init__).parameters
    known = {
        name: None
        for name, parameter in parameters.items()
        if name not in ("self", *left_out) and parameter.kind is not parameter.VAR_KEYWORD
    }
    found = complete_section(where, given, known, parameter_types(kind))
    return {name: found[name] for name in given}


def _criterion_section(where: str, section) -> dict[str, Any]:
    if not isinstance(section, Mapping) or "measure" not in section:
        raise ConfigError(f"{where} is {section!r}; expected named fields, measure among them")
    measured = {key: section[key] for key in section if key in LATENCY}
    own = {key: section[key] for key in section if key not in LATENCY and key != "measure"}
    if measured and section["measure"] != "latency":
        raise ConfigError(f"{where} has {', '.join(measured)}, which only a latency needs")
    completed = _arguments(where, own, Criterion, ("measure", "groups", "name"))
    Criterion(float, {}, name=where, **completed)  # complains now, not after minutes of measuring
    return {"measure": str(section["measure"]), **completed, **measured}
