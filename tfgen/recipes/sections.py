"""Sections that the recipes in `configs` share: each recipe says what it does otherwise.

Every function returns the fields of one section; keyword arguments change or add some. Placeholders
have a type and no value, so that the command line can set them.
"""

from collections.abc import Collection
from typing import Any

from ml_collections import config_dict


def check_mode(mode: str, modes: Collection[str]) -> None:
    """Refuses a mode, the part behind the colon of `FILE:mode`, that a recipe does not have.

    Args:
        mode: string, the mode.
        modes: sequence of the modes that there are.

    Raises:
        ValueError: `mode` is none of `modes`.
    """
    if mode not in modes:
        raise ValueError(f"mode {mode!r} is none of {modes}")


def over_vae() -> config_dict.ConfigDict:
    """A recipe (`ConfigDict`) of what stands on a trained VAE: a preset, or the workdir of one."""
    return config_dict.ConfigDict({"vae": config_dict.placeholder(str)})


# -- optimizers ------------------------------------------------------------------------------------


def adamax(**changes: Any) -> dict:
    """The section `optimizer` of NVAEs, a dict."""
    return {
        "name": "adamax",
        "learning_rate": 1e-2,
        "warmup_epochs": 5,
        "final_learning_rate": 1e-4,
        "weight_decay": 3e-4,
        "epsilon": 1e-3,
        "ema_momentum": config_dict.placeholder(float),
        **changes,
    }


def adamw(**changes: Any) -> dict:
    """The section `optimizer` of NCP-VAE's classifiers, a dict."""
    return {
        "name": "adamw",
        "learning_rate": 1e-3,
        "warmup_epochs": 1,
        "final_learning_rate": 1e-5,
        "weight_decay": 1e-4,
        "epsilon": 1e-7,
        "ema_momentum": 0.999,
        **changes,
    }


def clipped_adam(learning_rate: float, **changes: Any) -> dict:
    """The section `optimizer` of VAEBM's energies, a dict: at a constant rate.

    Args:
        learning_rate: float, the rate.
    """
    return {
        "name": "clipped_adam",
        "learning_rate": learning_rate,
        "warmup_epochs": 0,
        "final_learning_rate": learning_rate,
        "weight_decay": 3e-5,
        "epsilon": 1e-8,
        "ema_momentum": 0.999,
        **changes,
    }


# -- training and evaluation -----------------------------------------------------------------------


def training(epochs: int, **changes: Any) -> dict:
    """The section `training`, a dict: how long, and from which seed.

    Args:
        epochs: integer, passes over the training images.
    """
    return {
        "epochs": epochs,
        "steps_per_epoch": config_dict.placeholder(int),  # none: one pass over the data
        "report_steps": 50,
        "seed": 0,  # of weights, noise and the order of the data
        "max_minutes": config_dict.placeholder(float),
        **changes,
    }


def evaluation(**changes: Any) -> dict:
    """The section `evaluation`, a dict: what `tfgen-evaluate` scores."""
    return {
        "split": "test",
        "num_images": config_dict.placeholder(int),  # none: the whole split
        "num_importance_samples": 100,
        "batch_size": 100,
        **changes,
    }


# -- smaller versions ------------------------------------------------------------------------------


def shorten(
    config: config_dict.ConfigDict,
    epochs: int,
    steps: int,
    report_steps: int,
    num_images: int,
    num_samples: int,
    batch_size: int | None = None,
    warmup_epochs: int | None = 1,
) -> None:
    """Changes `config` such that every step of a program is shown in a few minutes.

    Args:
        config: the `ConfigDict` of a recipe, changed in place.
        epochs: integer, epochs of training.
        steps: integer, steps of an epoch.
        report_steps: integer, steps between two lines of the log.
        num_images: integer, images scored by `tfgen-evaluate`.
        num_samples: integer, importance samples of each.
        batch_size: integer, images scored at once; None: as it was.
        warmup_epochs: integer, epochs of the learning rate's rise; None: as it was. Defaults to
            `1`.
    """
    config.training.update(epochs=epochs, steps_per_epoch=steps, report_steps=report_steps)
    config.evaluation.update(num_images=num_images, num_importance_samples=num_samples)
    if batch_size is not None:
        config.evaluation.batch_size = batch_size
    if warmup_epochs is not None:
        config.optimizer.warmup_epochs = warmup_epochs
