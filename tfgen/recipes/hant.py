"""Recipes of HANT: networks that are made fast."""

from typing import Any

from ml_collections import config_dict

from tfgen.recipes.sections import check_mode

HANT_MODES = ("", "runlocal")
MOBILE_HANT_MODES = ("", "cpu", "runlocal")
_SECTIONS = (
    "teacher",
    "pool",
    "distillation",
    "scores",
    "latency",
    "plan",
    "fine_tuning",
    "quantization",
    "evaluation",
)


def hant(
    mode: str,
    model: dict,
    data: dict,
    modes: tuple[str, ...] = HANT_MODES,
    small: dict | None = None,
    **sections: dict,
) -> config_dict.ConfigDict:
    """A transformation.

    Args:
        mode: string, one of `modes`.
        model: dict of the network's `source` and its fields.
        data: dict of the section of that name.
        modes: tuple of strings. Defaults to `('', 'runlocal')`.
        small: dict of what else differs in the mode "runlocal", by section; None: nothing does.
        **sections: dicts of fields that differ from the defaults, by section.

    Returns:
        The recipe, a `ConfigDict`.

    Raises:
        TypeError: there is no section of a name.
    """
    check_mode(mode, modes)
    config = config_dict.ConfigDict({"model": model, "data": data})
    for name in _SECTIONS:
        config[name] = dict(sections.pop(name, {}))
    if sections:
        raise TypeError(f"there is no section {sorted(sections)}")
    config.training = dict(seed=0)
    if mode == "runlocal":
        _shorten(config, small or {})
    return config


def mobile_hant(
    mode: str, model: dict, data: dict, cpu: dict[str, int] | None = None, **sections: dict
) -> config_dict.ConfigDict:
    """A network of inverted bottlenecks for ten classes, trained here and made fast.

    Args:
        mode: string, one of `MOBILE_HANT_MODES`, or of `HANT_MODES` where `cpu` is None.
        model: dict of fields of `tfgen.search.hant.mobile_network`.
        data: dict of the section of that name.
        cpu: dict of keyword arguments of `shorten_hant` for the mode "cpu". Defaults to `None`.
        **sections: dicts of fields that differ from the defaults, by section.

    Returns:
        The recipe, a `ConfigDict`.
    """
    config = hant(
        mode,
        dict(source="mobile", num_classes=10, **model),
        data,
        modes=HANT_MODES if cpu is None else MOBILE_HANT_MODES,
        small=dict(model=dict(stages=((1, 4, 1, 1, 3), (2, 4, 2, 2, 3)), stem=4, head=8)),
        **sections,
    )
    if mode == "cpu":
        shorten_hant(config, **cpu)
    return config


def shorten_hant(
    config: config_dict.ConfigDict,
    *,
    teacher: int,
    distillation: int,
    fine_tuning: int,
    num_plans: int,
) -> None:
    """A pool of seven operations, and few steps in every phase, for a processor.

    Args:
        config: `ConfigDict`, the recipe, which is changed in place.
        teacher: integer, steps of the network's own training.
        distillation: integer, steps of every candidate.
        fine_tuning: integer, steps of the whole network.
        num_plans: integer, plans that are tried.
    """
    config.pool.operations = [
        {"family": "identity"},
        {"family": "cb_res", "kernel": 1},
        {"family": "cb_res", "kernel": 3},
        {"family": "separable", "kernel": 3},
        {"family": "cb_bottle", "kernel": 3, "width": 0.25},
        {"family": "efn", "expansion": 1, "kernel": 3},
        {"family": "efn", "expansion": 2, "kernel": 3},
    ]
    config.teacher.update(epochs=10, steps_per_epoch=teacher // 10)
    config.distillation.update(epochs=1, steps_per_epoch=distillation, at_once=22)
    config.fine_tuning.update(epochs=10, steps_per_epoch=fine_tuning // 10)
    config.scores.num_images = 512
    config.plan.update(num_plans=num_plans, num_images=1024)


def _shorten(config, small: dict[str, dict[str, Any]]) -> None:
    """Every phase in seconds."""
    steps = dict(epochs=1, steps_per_epoch=4)
    config.data.batch_size = 16
    config.teacher.update(steps, warmup_epochs=0)
    config.fine_tuning.update(steps, warmup_epochs=0)
    config.distillation.update(steps, batch_size=16)
    config.pool.operations = [
        {"family": "identity"},
        {"family": "cb_res", "kernel": 1},
    ]
    config.scores.num_images = 64
    config.latency.update(num_runs=30, repeat=0)
    config.plan.update(num_plans=3, num_images=64)
    config.quantization.num_images = 16
    for section, fields in small.items():
        config[section].update(fields)
