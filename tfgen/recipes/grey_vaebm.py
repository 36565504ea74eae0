"""VAEBM on small grey images, for which the paper has no recipe: sizes and rates are ours."""

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

GREY_MODES = ("", "vae", "cpu", "cpu_vae", "runlocal", "runlocal_vae")


def grey_vaebm(mode: str, name: str, smoothing: float, step_size: float) -> config_dict.ConfigDict:
    """The recipe of one of `GREY_MODES`.

    Args:
        mode: string, "...vae" for the NVAE, else the energy over it; "cpu..." and "runlocal..." are
            small.
        name: string, the data set's name.
        smoothing: float, deviation of the noise through which the small energies see images.
        step_size: float eta of their chains.
    """
    check_mode(mode, GREY_MODES)
    small = mode.startswith(("cpu", "runlocal"))
    if mode.endswith("vae"):
        config = grey_nvae(name)
        if small:
            shrink_grey_nvae(config)
    else:
        config = grey_energy()
        if small:
            shrink_grey_energy(config, smoothing, step_size)
    if mode.startswith("runlocal"):
        config.evaluation.batch_size = 32
        shorten(
            config,
            epochs=2,
            steps=20,
            report_steps=5,
            num_images=64,
            num_samples=2,
            warmup_epochs=0,
        )
    return config


def grey_nvae(name: str) -> config_dict.ConfigDict:
    """An NVAE with a Normal decoder on the grey levels of the 28 x 28 images called `name`."""
    config = config_dict.ConfigDict()
    config.model = {
        **PAPER_NVAE,
        "image_shape": (28, 28, 1),
        "decoder": "normal",
        "padding": 2,
        "num_channels": 32,
        "num_scales": 2,
        "num_groups": 5,
        "ada_groups": False,
        "preprocess_blocks": 2,
        "postprocess_blocks": 2,
        "num_flows": 0,
    }
    config.data = dict(name=name, batch_size=200)
    config.optimizer = adamax()
    config.training = training(epochs=200)
    config.evaluation = evaluation()
    return config


def grey_energy() -> config_dict.ConfigDict:
    """The energy over it; what is not said of the data is as it was for the NVAE."""
    config = over_vae()
    config.model = dict(
        name="vaebm",
        energy=dict(architecture="mnist", num_channels=64),
        num_steps=10,
        step_size=8e-5,
        sample_steps=16,
        negatives="mean",
        spectral_coefficient=0.2,
        energy_coefficient=0.01,
        buffer_size=2000,
        replay_maximum=0.6,
        replay_anneal_steps=5000,
    )
    config.data = dict(batch_size=32)
    config.optimizer = clipped_adam(4e-5)
    config.training = training(epochs=16)
    config.evaluation = evaluation()
    return config


def shrink_grey_nvae(config: config_dict.ConfigDict) -> None:
    """Under half a million weights, for two cores and a quarter of an hour."""
    config.model.update(
        architecture="res_bnswish",
        num_channels=8,
        num_groups=2,
        latent_channels=8,
        encoder_cells=1,
        decoder_cells=1,
        preprocess_cells=1,
        postprocess_cells=1,
        spectral_coefficient=1e-3,
    )
    config.data.batch_size = 64
    config.optimizer.update(learning_rate=5e-3, warmup_epochs=1)
    config.training.epochs = 7
    config.evaluation.num_importance_samples = 10


def shrink_grey_energy(config: config_dict.ConfigDict, smoothing: float, step_size: float) -> None:
    """Small networks, larger rates, fewer steps.

    So few latents allow steps a hundred times as long, and so small an energy needs them. The noise
    of `smoothing` hides from it what it would otherwise look at alone: strokes sharper than any
    decoder's.
    """
    config.model.update(
        energy=dict(architecture="mnist", num_channels=16),
        step_size=step_size,
        sample_steps=20,
        smoothing=smoothing,
        energy_coefficient=0.02,
        buffer_size=0,
    )
    config.optimizer.update(learning_rate=3e-4, final_learning_rate=3e-5, ema_momentum=0.99)
    config.training.epochs = 1
    config.evaluation.num_importance_samples = 10
