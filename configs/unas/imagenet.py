r"""UNAS on ImageNet: cells of five operations, with the paper's search.

    tfgen-search --config=configs/unas/imagenet.py --workdir=runs/imagenet-search \
        --config.data.name=folder:PATH

The paper searches on eight devices with 24 images each, one architecture a device; here eight
architectures share a batch of 192. Images are resized to 224 x 224, and there is no augmentation.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = recipes.SEARCH_MODES


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    return recipes.unas(
        mode,
        "tfds:imagenet2012",
        {
            "name": "cells",
            "image_shape": (224, 224, 3),
            "num_classes": 1000,
            "num_channels": 48,
            "num_cells": 14,
            "num_operations": 5,
            "stem": "large",
        },
        batch_size=192,
        epochs=(5, 15),
        model=dict(softening=0.08, num_architectures=8, **recipes.IMAGENET_PIXELS),
        criteria={},
        training=dict(weight_rates=(3e-4, 1e-4), logit_rates=(1e-3, 3e-4)),
        small_supernet={"image_shape": (64, 64, 3), "num_channels": 4, "num_cells": 3},
    )
