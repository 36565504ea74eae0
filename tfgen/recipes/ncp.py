"""Recipes of NCP-VAE, whose classifiers' sizes are ours: the paper does not tell its own."""

from typing import Any

from ml_collections import config_dict

from tfgen.recipes.sections import adamw, check_mode, evaluation, over_vae, shorten, training


def ncp(
    name: str, batch_size: int, *, held_out: float = 0.05, **model: Any
) -> config_dict.ConfigDict:
    """NCP-VAE over a trained VAE.

    Args:
        name: string, the data set's name.
        batch_size: integer, images a step.
        held_out: float, the share of the training images that chooses the best epoch. Defaults to
            `0.05`.
        **model: keyword arguments of the classifiers that differ from those of MNIST.

    Returns:
        The recipe, a `ConfigDict`.
    """
    config = over_vae()
    config.model = {
        "name": "ncp",
        "width": 64,
        "num_cells": 2,
        "num_proposals": 500,
        "chunk_size": 64,
        "num_negatives": 1,
        **model,
    }
    # What is not said here is as it was for the VAE.
    config.data = dict(name=name, batch_size=batch_size, held_out=held_out)
    config.optimizer = adamw()
    config.training = training(epochs=50)
    config.evaluation = evaluation(batch_size=50)
    return config


def colour_ncp(mode: str, name: str, batch_size: int, **model: Any) -> config_dict.ConfigDict:
    """NCP-VAE on colour images.

    Args:
        mode: string, "" or "runlocal", which shows every step of the program over a small VAE.
        name: string, the data set's name.
        batch_size: integer, images a step.
        **model: keyword arguments of the classifiers.

    Returns:
        The recipe, a `ConfigDict`.
    """
    check_mode(mode, ("", "runlocal"))
    config = ncp(name, batch_size, shared=True, **model)
    config.evaluation.update(num_images=1000, num_importance_samples=10, batch_size=20)
    if mode == "runlocal":
        config.model.update(width=16, num_cells=1, num_proposals=16)
        config.data.batch_size = 16
        config.evaluation.batch_size = 10
        shorten(
            config,
            epochs=2,
            steps=5,
            report_steps=1,
            num_images=20,
            num_samples=2,
            warmup_epochs=None,
        )
    return config


def binary_ncp(mode: str, name: str, small_epochs: int, **small: Any) -> config_dict.ConfigDict:
    """NCP-VAE on binarised images of 28 x 28.

    Args:
        mode: string, "", "cpu" for two cores, or "runlocal" for every step in a few minutes.
        name: string, the data set's name.
        small_epochs: integer, passes over the training images in "cpu".
        **small: keyword arguments of the small classifiers.

    Returns:
        The recipe, a `ConfigDict`.
    """
    check_mode(mode, ("", "cpu", "runlocal"))
    config = ncp(name, batch_size=200)
    if mode:
        # Dense classifiers see in minutes what convolutions over 7,040 latents, most of them noise,
        # do not see in an hour.
        config.model.update(width=160, num_directions=32, num_proposals=64, **small)
        config.data.batch_size = 64
        config.optimizer.weight_decay = 1e-2
        config.training.epochs = small_epochs
        config.evaluation.update(num_images=1000, num_importance_samples=10)
    if mode == "runlocal":
        config.model.update(width=16, num_proposals=16)
        shorten(
            config,
            epochs=2,
            steps=20,
            report_steps=10,
            num_images=100,
            num_samples=2,
            warmup_epochs=None,
        )
    return config
