"""What `MultiTaskOOD` is given, looked at: weights, tasks that go together, shapes."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from tfgen.errors import ConfigError
from tfgen.ood.multi_task.tasks import Task
from tfgen.ood.transformations import Flip, Transformation
from tfgen.ops.checks import whole_number


def weights_by_name(argument: str, given: Any, names: Sequence[str]) -> dict[str, float]:
    """The weight of every transformation.

    Args:
        argument: string, the argument's name, for messages.
        given: number for all, sequence of one for each, or dict by name, in which those that are
            missing have weight 0.
        names: sequence of the transformations' names.

    Raises:
        ConfigError: not one finite number from 0 on for each; a name that there is not.
    """
    if isinstance(given, Mapping):
        for name in given:
            if name not in names:
                raise ConfigError(
                    f"{argument} names {name!r}, which is none of the transformations "
                    f"({', '.join(names) or 'none'})"
                )
        values = [given.get(name, 0.0) for name in names]
    elif np.ndim(given) == 0:
        values = [given] * len(names)
    else:
        values = list(given)
    if len(values) != len(names):
        raise ConfigError(
            f"{argument} has {len(values)} numbers for {len(names)} transformations; expected one "
            "for each, or one for all"
        )
    for name, value in zip(names, values):
        number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
        if not number or not 0.0 <= value < np.inf:
            raise ConfigError(
                f"{argument} of {name!r} is {value!r}; expected a finite number, 0 or more"
            )
    return {name: float(value) for name, value in zip(names, values)}


def active_tasks(
    transformations: Sequence[Transformation],
    ssl_weights: Mapping[str, float],
    supervised_weights: Mapping[str, float],
) -> list[Task]:
    """Those with a weight above 0: the others are neither trained nor computed."""
    tasks = [Task(t, ssl_weights[t.name], supervised_weights[t.name]) for t in transformations]
    return [task for task in tasks if task.ssl_weight or task.supervised_weight]


def check_tasks(tasks: Sequence[Task], num_classes: int | None, flip: bool) -> None:
    """Raises a ConfigError where there is nothing to learn, or tasks go against the rest."""
    if num_classes is None:
        if any(task.supervised_weight for task in tasks):
            raise ConfigError(
                "supervised_weights are above 0, but there are no classes; give num_classes, or "
                "leave them out"
            )
        if not tasks:
            raise ConfigError(
                "there are no classes and no transformation of a weight above 0, so nothing to "
                "learn; give num_classes or transformations"
            )
    if flip and any(isinstance(task.transformation, Flip) for task in tasks):
        raise ConfigError(
            "flip=True mirrors images at random, and the transformation 'flip' asks whether they "
            "are mirrored; leave one of the two out"
        )


def checked_shape(image_shape: Any) -> tuple[int, int, int]:
    """`(H, W, C)` as integers.

    Raises:
        ConfigError: it is no such thing.
    """
    try:
        height, width, channels = image_shape
    except (TypeError, ValueError):
        raise ConfigError(f"image_shape is {image_shape!r}; expected (H, W, C)") from None
    return tuple(whole_number("image_shape", size, 1) for size in (height, width, channels))


def per_channel(name: str, value: Any) -> float | list[float]:
    """A number, or a list of one for each channel, as floats.

    Raises:
        ConfigError: it is neither.
    """
    try:
        return [float(x) for x in value] if np.ndim(value) else float(value)
    except (TypeError, ValueError):
        raise ConfigError(f"{name} is {value!r}; expected a number, or one a channel") from None


def backbone_config(backbone: Any) -> Any:
    """A backbone in plain values."""
    if isinstance(backbone, keras.Model | keras.layers.Layer):
        return keras.saving.serialize_keras_object(backbone)
    return dict(backbone) if isinstance(backbone, Mapping) else backbone
