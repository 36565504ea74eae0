r"""UNAS on CIFAR-10: cells, with the paper's search.

    tfgen-search --config=configs/unas/cifar10.py --workdir=runs/cifar10-search

`:runlocal` shows every step of the program in a few minutes on a processor.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = recipes.SEARCH_MODES


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    return recipes.unas_cifar(mode, "cifar10", num_classes=10)
