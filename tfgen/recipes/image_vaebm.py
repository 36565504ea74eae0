"""VAEBM on the image sets of the paper: an NVAE with a Normal decoder, and the energy over it."""

from collections.abc import Callable
from typing import Any

from ml_collections import config_dict

from tfgen.recipes.nvae import PAPER_NVAE
from tfgen.recipes.sections import (
    adamax,
    check_mode,
    clipped_adam,
    evaluation,
    over_vae,
    shorten,
    training,
)

VAEBM_MODES = ("", "vae", "runlocal", "runlocal_vae")

# A persistent buffer that the chains start from more and more often.
REPLAY = {"buffer_size": 10_000, "replay_maximum": 0.6, "replay_anneal_steps": 5000}


def image_vaebm(
    mode: str,
    vae: Callable[[], config_dict.ConfigDict],
    energy: Callable[[], config_dict.ConfigDict],
) -> config_dict.ConfigDict:
    """The recipe of one of `VAEBM_MODES`.

    Args:
        mode: string, "...vae" for the NVAE, else the energy over it; "runlocal..." shows every step
            of the program in a few minutes.
        vae: function that returns the recipe of the NVAE.
        energy: function that returns that of the energy.

    Returns:
        The recipe, a `ConfigDict`.
    """
    check_mode(mode, VAEBM_MODES)
    config = vae() if mode.endswith("vae") else energy()
    if mode.startswith("runlocal"):
        shrink_vaebm(config)
    return config


def normal_nvae(
    size: int, data: dict, epochs: int, optimizer: dict | None = None, **model: Any
) -> config_dict.ConfigDict:
    """An NVAE with a Normal decoder.

    Args:
        size: integer, height and width in pixels.
        data: dict, the section of the data.
        epochs: integer, passes over the training images.
        optimizer: dict, the section of the optimizer; None: `adamax()`.
        **model: keyword arguments of the network.

    Returns:
        The recipe, a `ConfigDict`.
    """
    config = config_dict.ConfigDict()
    config.model = {
        **PAPER_NVAE,
        "image_shape": (size, size, 3),
        "decoder": "normal",
        "padding": 0,
        "num_groups": 5,
        "ada_groups": False,
        **model,
    }
    config.data = data
    config.optimizer = optimizer or adamax()
    config.training = training(epochs)
    config.evaluation = evaluation()
    return config


def image_energy(
    architecture: str, data: dict, epochs: int, learning_rate: float = 4e-5, **model: Any
) -> config_dict.ConfigDict:
    """The energy over it.

    Args:
        architecture: string, name of the energy network.
        data: dict, the section of the data; what it does not say is as it was for the NVAE.
        epochs: integer, passes over the training images.
        learning_rate: float, the same from the first step to the last. Defaults to `4e-5`.
        **model: keyword arguments of the chains that differ from those of CIFAR-10.

    Returns:
        The recipe, a `ConfigDict`.
    """
    model = dict(model)
    config = over_vae()
    config.model = {
        "name": "vaebm",
        "energy": dict(architecture=architecture, num_channels=model.pop("num_channels", 64)),
        "num_steps": 10,
        "step_size": 8e-5,
        "sample_steps": 16,
        "negatives": "mean",
        "spectral_coefficient": 0.2,
        **model,
    }
    config.data = data
    config.optimizer = clipped_adam(learning_rate)
    config.training = training(epochs)
    config.evaluation = evaluation()
    return config


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
    config.evaluation.batch_size = 32
    shorten(
        config, epochs=2, steps=10, report_steps=5, num_images=64, num_samples=2, warmup_epochs=0
    )
