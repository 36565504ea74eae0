"""Recipes of LSGM: the networks and schedules of the paper's models, and small ones.

Every recipe describes its VAE as well. It is trained first, with its own prior, by the mode "vae";
the others begin from its weights where `--config.vae` names them.
"""

from typing import Any

from ml_collections import config_dict

from tfgen.recipes.nvae import PAPER_NVAE, binary_nvae, shrink_binary_nvae
from tfgen.recipes.sections import adamax, adamw, check_mode, evaluation, shorten, training

LSGM_MODES = ("", "vae", "runlocal", "vae_runlocal")
SMALL_LSGM_MODES = ("", "vae", "cpu", "vae_cpu", "runlocal", "vae_runlocal")
_TINY_NVAE = dict(
    architecture="res_bnswish",
    num_channels=8,
    encoder_cells=1,
    decoder_cells=1,
    preprocess_cells=1,
    postprocess_cells=1,
)
_TINY_PRIOR = dict(num_channels=16, multipliers=(1,), num_blocks=1, embedding_dims=16)


def lsgm(
    data: str,
    vae: dict,
    score_network: dict,
    *,
    batch_size: int,
    epochs: int,
    learning_rate: float,
    warmup_epochs: int,
    model: dict,
    **fields: Any,
) -> config_dict.ConfigDict:
    """The second stage of LSGM: VAE and prior on one bound.

    Args:
        data: string, the data set's name.
        vae: dict, the section of the VAE.
        score_network: dict, keyword arguments of the score network.
        batch_size: integer, images a step.
        epochs: integer, passes over the training images.
        learning_rate: float, that of the prior, constant; that of the VAE falls from 1e-4 to 1e-5.
        warmup_epochs: integer, epochs of the rates' rise.
        model: dict, keyword arguments of `LSGM` that differ from its defaults.
        **fields: fields of the data beside name and batch size.

    Returns:
        The recipe, a `ConfigDict`.
    """
    config = config_dict.ConfigDict({"vae": config_dict.placeholder(str)})
    config.model = {
        "name": "lsgm",
        "vae": vae,
        "score_network": score_network,
        "sde": "vpsde",
        "cutoff": 0.01,
        "sampler": {"name": "dpm_solver", "num_steps": 20},
        **model,
    }
    config.data = dict(name=data, batch_size=batch_size, **fields)
    config.optimizer = adamw(
        learning_rate=learning_rate,
        final_learning_rate=learning_rate,
        warmup_epochs=warmup_epochs,
        weight_decay=3e-4,
        epsilon=1e-4,
        ema_momentum=0.9999,
        base=dict(
            learning_rate=1e-4,
            final_learning_rate=1e-5,
            epsilon=1e-3,
            ema_momentum=config_dict.placeholder(float),
        ),
    )
    config.training = training(epochs)
    # Every importance sample takes a solution of the ODE.
    config.evaluation = evaluation(num_importance_samples=1, batch_size=50)
    return config


def first_stage(config: config_dict.ConfigDict, batch_size: int, epochs: int, **vae: Any):
    """The first stage of a recipe: its VAE alone, with its own Normal prior.

    Args:
        config: the `ConfigDict` of the second stage.
        batch_size: integer, images a step.
        epochs: integer, passes over the training images.
        **vae: keyword arguments of the VAE that belong to its training alone.

    Returns:
        The recipe, a `ConfigDict`.
    """
    first = config_dict.ConfigDict()
    first.model = {**config.model.vae, **vae}
    first.data = {**config.data, "batch_size": batch_size}
    first.optimizer = adamax()
    first.training = training(epochs)
    first.evaluation = evaluation(num_importance_samples=100, batch_size=50)
    return first


def stages(
    mode: str, config: config_dict.ConfigDict, vae_batch_size: int, vae_epochs: int
) -> config_dict.ConfigDict:
    """The recipe of a mode: one of both stages, as published or small.

    Args:
        mode: string, one of `LSGM_MODES`.
        config: the `ConfigDict` of the published second stage, changed in place.
        vae_batch_size: integer, images a step of the published first stage.
        vae_epochs: integer, its passes over the training images.

    Returns:
        The recipe, a `ConfigDict`.
    """
    size = mode.removeprefix("vae").removeprefix("_")
    if size:
        grids = [
            grid for grid in config.model.score_network.get("attention_grids", []) if grid < 16
        ]
        config.model.score_network = {**_TINY_PRIOR, "attention_grids": grids, "dropout": 0.0}
        config.model.vae.update(**_TINY_NVAE, num_groups=2, latent_channels=10)
        config.data.batch_size = vae_batch_size = 64 if config.model.vae.image_shape[0] < 32 else 4
        config.optimizer.update(learning_rate=1e-3, final_learning_rate=1e-4, warmup_epochs=1)
        config.optimizer.ema_momentum = 0.999
    if mode.startswith("vae"):
        config = first_stage(config, vae_batch_size, vae_epochs)
        if size:
            config.optimizer.update(learning_rate=5e-3, warmup_epochs=1)
    if size:
        shorten(
            config, epochs=2, steps=5, report_steps=1, num_images=4, num_samples=1, batch_size=4
        )
    return config


def small_lsgm(mode: str, data: str, epochs: tuple[int, int]) -> config_dict.ConfigDict:
    """LSGM for two cores, over the NVAE of `configs/nvae` in its mode "cpu".

    All latents have the diffusion, as far as they carry anything: the VAE's groups of both grids
    have a channel each that does. Both learn from the first step on, the VAE at a rate that falls
    to where its own training ended.

    Args:
        mode: string, "cpu" or "vae_cpu", the NVAE's own training.
        data: string, the data set's name.
        epochs: pair of integers, passes of the first and the second stage.

    Returns:
        The recipe, a `ConfigDict`.
    """
    first = binary_nvae(data, batch_size=64, epochs=epochs[0])
    shrink_binary_nvae(first, "cpu", epochs=epochs[0])
    if mode == "vae_cpu":
        return first
    config = lsgm(
        data,
        first.model.to_dict(),
        dict(
            num_channels=64,
            multipliers=(1,),
            num_blocks=2,
            embedding_dims=64,
            attention_grids=(4,),
            dropout=0.0,
        ),
        batch_size=64,
        epochs=epochs[1],
        learning_rate=1e-3,
        warmup_epochs=1,
        model=dict(scope="all", prediction="velocity", mixing_logit=None, inactive_below=0.1),
        binarize="dynamic",
    )
    config.optimizer.update(final_learning_rate=1e-5, epsilon=1e-8, ema_momentum=0.999)
    config.optimizer.base.update(learning_rate=3e-4, final_learning_rate=1e-5, ema_momentum=0.999)
    return config


def binary_lsgm(
    mode: str,
    data: str,
    groups: int,
    blocks: tuple[int, int],
    levels: int,
    batch_sizes: tuple[int, int],
    epochs: int,
    spectral_coefficient: float,
    small_epochs: tuple[int, int],
) -> config_dict.ConfigDict:
    """LSGM on dynamically binarised images of 28 x 28.

    Args:
        mode: string, one of `SMALL_LSGM_MODES`.
        data: string, the data set's name.
        groups: integer, latent groups of the VAE, all on one grid.
        blocks: pair of integers, blocks before the encoder and cells of each.
        levels: integer, grids of the score network.
        batch_sizes: pair of integers, images a step of the first and the second stage.
        epochs: integer, passes of the second stage over the training images.
        spectral_coefficient: float, that of the score network.
        small_epochs: pair of integers, passes of the stages of the model for two cores.

    Returns:
        The recipe, a `ConfigDict`.
    """
    check_mode(mode, SMALL_LSGM_MODES)
    if mode.endswith("cpu"):
        return small_lsgm(mode, data, small_epochs)
    vae = {
        **PAPER_NVAE,
        "image_shape": (28, 28, 1),
        "decoder": "bernoulli",
        "padding": 2,
        "num_channels": 64,
        "num_scales": 1,
        "num_groups": groups,
        "preprocess_blocks": blocks[0],
        "preprocess_cells": blocks[1],
        "postprocess_blocks": blocks[0],
        "postprocess_cells": blocks[1],
    }
    config = lsgm(
        data,
        vae,
        {"num_channels": 256, "multipliers": (1,) * levels},
        batch_size=batch_sizes[1],
        epochs=epochs,
        learning_rate=3e-4,
        warmup_epochs=20,
        model={"kl_initial": 0.7, "spectral_coefficient": spectral_coefficient},
        binarize="dynamic",
    )
    return stages(mode, config, batch_sizes[0], 200)
