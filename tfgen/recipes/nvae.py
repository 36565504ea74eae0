"""Recipes of NVAE: what those of the paper share, and how the small ones come from them."""

from typing import Any

from ml_collections import config_dict

from tfgen.recipes.sections import adamax, check_mode, evaluation, shorten, training

PAPER_NVAE = {
    "name": "nvae",
    "latent_channels": 20,
    "encoder_cells": 2,
    "decoder_cells": 2,
    "preprocess_blocks": 1,
    "preprocess_cells": 2,
    "postprocess_blocks": 1,
    "postprocess_cells": 2,
    "spectral_coefficient": 1e-2,
}


def binary_nvae(name: str, batch_size: int, epochs: int, **model: Any) -> config_dict.ConfigDict:
    """NVAE on dynamically binarised images of 28 x 28, padded to 32 x 32.

    Args:
        name: string, the data set's name.
        batch_size: integer, images a step.
        epochs: integer, passes over the training images.
        **model: keyword arguments of the network that differ from those of MNIST.

    Returns:
        The recipe, a `ConfigDict`.
    """
    config = config_dict.ConfigDict()
    config.model = {
        **PAPER_NVAE,
        "image_shape": (28, 28, 1),
        "decoder": "bernoulli",
        "padding": 2,
        "num_channels": 32,
        "num_scales": 2,
        "num_groups": 10,
        "ada_groups": True,
        "preprocess_blocks": 2,
        "preprocess_cells": 3,
        "postprocess_blocks": 2,
        "postprocess_cells": 3,
        "num_flows": 0,
        **model,
    }
    config.data = dict(name=name, batch_size=batch_size, binarize="dynamic")
    config.optimizer = adamax()
    config.training = training(epochs)
    config.evaluation = evaluation(num_importance_samples=1000)
    return config


def shrink_binary_nvae(config: config_dict.ConfigDict, mode: str, epochs: int) -> None:
    """Makes `config` the recipe of its mode "cpu" or "runlocal"; any other stays as it is.

    An NVAE of under a million weights, for two cores. Regular residual cells, and few of them at
    full size: a step costs half of what it does with the paper's depthwise cells.

    Args:
        config: the `ConfigDict` of a recipe, changed in place.
        mode: string, one of the recipe's.
        epochs: integer, passes over the training images in "cpu".
    """
    if mode not in ("cpu", "runlocal"):
        return
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
    if mode == "runlocal":
        shorten(config, epochs=3, steps=40, report_steps=10, num_images=200, num_samples=5)


def colour_nvae(size: int, num_bits: int = 8, **model: Any) -> dict:
    """The section of the network of NVAE on colour images of `size` x `size`.

    Args:
        size: integer, height and width in pixels.
        num_bits: integer, bits per channel. Defaults to `8`.
        **model: keyword arguments of the network that differ, or that only some data sets have.

    Returns:
        Dict of fields of the section `model`.
    """
    return {
        **PAPER_NVAE,
        "image_shape": (size, size, 3),
        "decoder": "logistic_mixture",
        "num_bits": num_bits,
        "num_mixtures": 10,
        "padding": 0,
        "ada_groups": size > 32,
        "num_flows": 1,
        "spectral_initial": config_dict.placeholder(float),  # none: not annealed
        "recompute": False,
        **model,
    }


def shrink_colour_nvae(config: config_dict.ConfigDict, mode: str, **shorter: Any) -> None:
    """Makes `config` the recipe of its mode "runlocal"; any other stays as it is.

    Args:
        config: the `ConfigDict` of a recipe whose network is `colour_nvae`, of 32 x 32 or 64 x 64
            pixels; changed in place.
        mode: string, one of the recipe's.
        **shorter: keyword arguments of `shorten`, where they differ.
    """
    if mode != "runlocal":
        return
    small = config.model.image_shape[0] <= 32
    config.model.update(
        num_channels=16 if small else 8,
        num_groups=3 if small else 2,
        encoder_cells=1,
        decoder_cells=1,
    )
    config.data.batch_size = 16 if small else 8
    images = dict(num_images=50, num_samples=5) if small else dict(num_images=16, num_samples=2)
    batch = dict(batch_size=25 if small else 8)
    shorten(config, **{**dict(epochs=2, steps=10, report_steps=5), **images, **batch, **shorter})


def face_nvae(
    mode: str, data: str, optimizer: dict, epochs: int, split: str, spectral_coefficient: float
) -> config_dict.ConfigDict:
    """NVAE on faces of 256 x 256 in five bits, on 24 devices.

    Args:
        mode: string, "" or "runlocal", which shows every step of the program on two cores.
        data: string, the data set's name.
        optimizer: dict, the section of the optimizer.
        epochs: integer, passes over the training images.
        split: string, the split that is scored.
        spectral_coefficient: float, the weight of spectral regularisation that its annealing ends
            at.

    Returns:
        The recipe, a `ConfigDict`.
    """
    check_mode(mode, ("", "runlocal"))
    config = config_dict.ConfigDict()
    config.model = colour_nvae(
        256,
        num_bits=5,
        num_channels=30,
        num_scales=5,
        num_groups=16,
        min_groups=4,
        num_flows=2,
        spectral_coefficient=spectral_coefficient,
        spectral_initial=1.0,  # annealed to the coefficient as the KL warms up
        recompute=True,
    )
    config.data = dict(name=data, batch_size=96, flip=True)
    config.optimizer = optimizer
    config.training = training(epochs)
    config.evaluation = evaluation(split=split, num_importance_samples=1000, batch_size=8)
    if mode == "runlocal":
        config.model.update(
            num_channels=8, num_groups=1, min_groups=1, encoder_cells=1, decoder_cells=1
        )
        config.data.batch_size = 2
        shorten(
            config, epochs=2, steps=10, report_steps=5, num_images=4, num_samples=2, batch_size=2
        )
    return config
