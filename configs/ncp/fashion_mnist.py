r"""NCP-VAE on Fashion-MNIST, over an NVAE trained by configs/nvae/fashion_mnist.py.

The paper has no number for this data set; the recipe is the one for MNIST.

    tfgen-train --config=configs/ncp/fashion_mnist.py --config.vae=runs/fashion-mnist \
        --workdir=runs/fashion-mnist-ncp
    tfgen-evaluate --workdir=runs/fashion-mnist-ncp

`:cpu` fits the NVAE of configs/nvae/fashion_mnist.py:cpu and two cores; `:runlocal` shows every
step of the same program in a few minutes.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = ("", "cpu", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    return recipes.binary_ncp(mode, "fashion_mnist", small_epochs=10)
