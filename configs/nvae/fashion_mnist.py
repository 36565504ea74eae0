r"""NVAE on dynamically binarised Fashion-MNIST, 28 x 28 padded to 32 x 32.

The paper has no number for this data set; the recipe is the one it uses for MNIST.

    tfgen-train --config=configs/nvae/fashion_mnist.py --workdir=runs/fashion-mnist \
        --strategy=mirrored
    tfgen-evaluate --workdir=runs/fashion-mnist

`:cpu` is a model for two cores and twenty minutes; `:runlocal` shows every step of the
same program in a few minutes:

    tfgen-train --config=configs/nvae/fashion_mnist.py:runlocal --workdir=runs/fashion-mnist-local
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = ("", "cpu", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    recipes.check_mode(mode, MODES)
    config = recipes.binary_nvae("fashion_mnist", batch_size=400, epochs=400)
    recipes.shrink_binary_nvae(config, mode, epochs=6)
    return config
