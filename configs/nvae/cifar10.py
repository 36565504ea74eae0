r"""NVAE on CIFAR-10, 32 x 32 RGB, with one pair of flows a group.

The paper's recipe: 2.91 bits/dim after 55 hours on 8 V100s (2.93 without flows:
`--config.model.num_flows=0`).

    tfgen-train --config=configs/nvae/cifar10.py --workdir=runs/cifar10 \
        --strategy=mirrored --precision=mixed_float16
    tfgen-evaluate --workdir=runs/cifar10

`:runlocal` shows every step of the same program on two cores in a few minutes:

    tfgen-train --config=configs/nvae/cifar10.py:runlocal --workdir=runs/cifar10-local
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = ("", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    recipes.check_mode(mode, MODES)
    config = config_dict.ConfigDict()
    config.model = recipes.colour_nvae(32, num_channels=128, num_scales=1, num_groups=30)
    config.data = dict(name="cifar10", batch_size=256, flip=True)
    config.optimizer = recipes.adamax()
    config.training = recipes.training(epochs=400)
    config.evaluation = recipes.evaluation(num_importance_samples=1000, batch_size=50)
    recipes.shrink_colour_nvae(config, mode, epochs=3, steps=20, report_steps=10)
    return config
