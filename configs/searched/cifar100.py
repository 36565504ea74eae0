r"""The network that UNAS found on CIFAR-100, trained as in the paper.

    tfgen-train --config=configs/searched/cifar100.py --workdir=runs/cifar100-found

As that of CIFAR-10, with 0.3 of the edges dropped at the end.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = recipes.SEARCHED_MODES


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    return recipes.searched(
        mode,
        "cifar100",
        "unas_cifar100",
        image_shape=(32, 32, 3),
        num_classes=100,
        model={"drop_path": 0.3},
    )
