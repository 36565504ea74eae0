r"""NVAE on CelebA at 64 x 64 RGB (148 x 148 face crop), three scales, one pair of flows a group.

The paper's recipe: 2.03 bits/dim after 92 hours on 8 V100s (2.04 without flows). The split to
compare with is the one of 19,867 validation images.

    tfgen-train --config=configs/nvae/celeba64.py --workdir=runs/celeba64 \
        --strategy=mirrored --precision=mixed_float16
    tfgen-evaluate --workdir=runs/celeba64

`:runlocal` shows every step of the same program on two cores in a few minutes:

    tfgen-train --config=configs/nvae/celeba64.py:runlocal --workdir=runs/celeba64-local
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = ("", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    recipes.check_mode(mode, MODES)
    config = config_dict.ConfigDict()
    config.model = recipes.colour_nvae(
        64, num_channels=64, num_scales=3, num_groups=20, spectral_coefficient=1e-1
    )
    config.data = dict(name="celeba64", batch_size=128, flip=True)
    config.optimizer = recipes.adamax()
    config.training = recipes.training(epochs=90)
    config.evaluation = recipes.evaluation(
        split="validation", num_importance_samples=1000, batch_size=50
    )
    recipes.shrink_colour_nvae(config, mode)
    return config
