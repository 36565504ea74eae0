r"""UNAS on CIFAR-10: cells, with the paper's search.

    tfgen-search --config=configs/unas/cifar10.py --workdir=runs/cifar10-search

The paper searches 100 epochs of batches of 128, an architecture for every image. Of so many hardly
an operation has a small weight for all, so all are run, which spares a branch each. `:runlocal`
shows every step of the program in a few minutes on a processor.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = recipes.SEARCH_MODES


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    return recipes.unas(
        mode,
        "cifar10",
        {
            "name": "cells",
            "image_shape": (32, 32, 3),
            "num_channels": 16,
            "num_cells": 8,
            "skip_below": 0.0,
        },
        batch_size=128,
        epochs=(15, 85),
        model=dict(recipes.CIFAR_PIXELS),
        criteria={},
        training=dict(weight_rates=(6e-4, 1e-4), logit_rates=(2e-3, 3e-4)),
        small_supernet={"num_channels": 4, "num_cells": 3, "num_operations": 2},
        flip=True,
        crop_padding=4,
    )
