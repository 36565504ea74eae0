"""Sections that the recipes in `configs` share: each recipe says what it does otherwise.

Every function returns the fields of one section; keyword arguments change or add some. Placeholders
have a type and no value, so that the command line can set them.
"""

from collections.abc import Collection
from typing import Any

from ml_collections import config_dict


def check_mode(mode: str, modes: Collection[str]) -> None:
    """Refuses a mode, the part behind the colon of `FILE:mode`, that a recipe does not have."""
    if mode not in modes:
        raise ValueError(f"mode {mode!r} is none of {modes}")


def over_vae() -> config_dict.ConfigDict:
    """A recipe of what stands on a trained VAE: a preset, or the workdir of one."""
    return config_dict.ConfigDict({"vae": config_dict.placeholder(str)})


# -- optimizers ------------------------------------------------------------------------------------


def adamax(**changes: Any) -> dict:
    """Of NVAEs."""
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
    """Of NCP-VAE's classifiers."""
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
    """Of VAEBM's energies, at a constant rate."""
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
    """How long, and from which seed."""
    return {
        "epochs": epochs,
        "steps_per_epoch": config_dict.placeholder(int),  # none: one pass over the data
        "report_steps": 50,
        "seed": 0,  # of weights, noise and the order of the data
        "max_minutes": config_dict.placeholder(float),
        **changes,
    }


def evaluation(**changes: Any) -> dict:
    """What `tfgen-evaluate` scores."""
    return {
        "split": "test",
        "num_images": config_dict.placeholder(int),  # none: the whole split
        "num_importance_samples": 100,
        "batch_size": 100,
        **changes,
    }


# -- smaller versions ------------------------------------------------------------------------------


def shrink_binary_nvae(config: config_dict.ConfigDict, epochs: int) -> None:
    """An NVAE of under a million weights for binarised 28 x 28 images, for two cores.

    Regular residual cells, and few of them at full size: a step costs half of what it does with the
    paper's depthwise cells.
    """
    config.model.update(
        architecture="res_bnswish",
        num_channels=8,
        num_scales=2,
        num_groups=5,
        ada_groups=True,
        encoder_cells=1,
        decoder_cells=1,
        preprocess_blocks=2,
        preprocess_cells=1,
        postprocess_blocks=2,
        postprocess_cells=1,
        spectral_coefficient=1e-3,
    )
    config.data.batch_size = 64
    config.optimizer.update(learning_rate=5e-3, warmup_epochs=1)
    config.training.update(epochs=epochs)
    config.evaluation.num_importance_samples = 100


def shrink_vaebm(config: config_dict.ConfigDict) -> None:
    """A few steps of a small energy, or of the NVAE under it."""
    if config.model.name == "nvae":
        config.model.update(
            num_channels=8, num_groups=2, encoder_cells=1, decoder_cells=1, num_flows=0
        )
    else:
        config.model.energy.num_channels = 8
        config.model.update(num_steps=4, sample_steps=4, buffer_size=64)
    config.data.batch_size = 16
    config.optimizer.warmup_epochs = 0
    config.training.update(epochs=2, steps_per_epoch=10, report_steps=5)
    config.evaluation.update(num_images=64, num_importance_samples=2, batch_size=32)
