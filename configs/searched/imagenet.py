r"""The cells that UNAS found on ImageNet, trained as in the paper.

    tfgen-train --config=configs/searched/imagenet.py --workdir=runs/imagenet-found \
        --config.data.name=folder:PATH

250 epochs in batches of 1024 with random crops of any size, random colours, smoothed labels and an
auxiliary head. The rate falls to 0; that of the published program ends near 8e-4.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = recipes.SEARCHED_MODES


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    return recipes.searched_imagenet(
        mode,
        "unas_imagenet",
        kind="cells",
        network={"num_channels": 48, "num_cells": 14, "stem": "large"},
        epochs=250,
        batch_size=1024,
        learning_rate=0.8,
        weight_penalty=3e-5,
    )
