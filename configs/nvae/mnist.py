r"""NVAE on dynamically binarised MNIST, 28 x 28 padded to 32 x 32.

The paper's recipe: 78.01 nats (NLL, K = 1000) after 21 hours on 2 V100s.

    tfgen-train --config=configs/nvae/mnist.py --workdir=runs/mnist --strategy=mirrored
    tfgen-evaluate --workdir=runs/mnist

`:cpu` is a model for two cores and about an hour; `:runlocal` shows every step of the
same program in a few minutes:

    tfgen-train --config=configs/nvae/mnist.py:runlocal --workdir=runs/mnist-local
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = ("", "cpu", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    recipes.check_mode(mode, MODES)
    config = recipes.binary_nvae("mnist", batch_size=400, epochs=400)
    recipes.shrink_binary_nvae(config, mode, epochs=25)
    return config
