r"""NCP-VAE on dynamically binarised MNIST, over an NVAE trained by configs/nvae/mnist.py.

The paper reports 78.67 to 78.10 nats for a ten-group NVAE; its classifiers' sizes are not public.

    tfgen-train --config=configs/ncp/mnist.py --config.vae=runs/mnist --workdir=runs/mnist-ncp
    tfgen-evaluate --workdir=runs/mnist-ncp

`:cpu` fits the NVAE of configs/nvae/mnist.py:cpu and two cores; `:runlocal` shows every step of the
same program in a few minutes.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = ("", "cpu", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    # The groups below the second gain nothing: their conditional priors fit.
    return recipes.binary_ncp(mode, "mnist", small_epochs=20, refined_groups=2)
