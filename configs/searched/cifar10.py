r"""The network that UNAS found on CIFAR-10, trained as in the paper.

    tfgen-train --config=configs/searched/cifar10.py --workdir=runs/cifar10-found

600 epochs with cutout, an auxiliary head and edges that are dropped, 0.2 of them at the end.
`:cpu` is a small network of the same cells for two cores; `:runlocal` shows every step of the
programs.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = recipes.SEARCHED_MODES


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    return recipes.searched(
        mode, "cifar10", "unas_cifar10", image_shape=(32, 32, 3), num_classes=10
    )
