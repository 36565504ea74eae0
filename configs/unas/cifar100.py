r"""UNAS on CIFAR-100: cells, with the paper's search.

    tfgen-search --config=configs/unas/cifar100.py --workdir=runs/cifar100-search

`:runlocal` shows every step of the program in a few minutes on a processor.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = recipes.SEARCH_MODES


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    return recipes.unas_cifar(mode, "cifar100", num_classes=100)
