r"""VAEBM on Fashion-MNIST, grey levels in 28 x 28: a Normal-decoder NVAE, and the energy over it.

    tfgen-train --config=configs/vaebm/fashion_mnist.py:cpu_vae --workdir=runs/fashion-vae
    tfgen-train --config=configs/vaebm/fashion_mnist.py:cpu --config.vae=runs/fashion-vae \
        --workdir=runs/fashion-vaebm
    tfgen-evaluate --workdir=runs/fashion-vaebm

`:cpu` and `:cpu_vae` fit two cores and less than an hour each; `:runlocal` and `:runlocal_vae` show
every step in a few minutes. Sizes and rates are ours: the paper has no recipe for these data. Cloth
has texture that no decoder here makes, so the energy sees it through twice the noise of MNIST's.

    tfgen-train --config=configs/vaebm/fashion_mnist.py:runlocal_vae --workdir=runs/fashion-local
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = recipes.GREY_MODES


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe of one of `MODES`."""
    return recipes.grey_vaebm(mode, "fashion_mnist", smoothing=0.6, step_size=3e-2)
