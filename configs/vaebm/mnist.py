r"""VAEBM on MNIST, grey levels in 28 x 28: an NVAE with a Normal decoder, and the energy over it.

    tfgen-train --config=configs/vaebm/mnist.py:cpu_vae --workdir=runs/mnist-vae
    tfgen-train --config=configs/vaebm/mnist.py:cpu --config.vae=runs/mnist-vae --workdir=runs/vaebm
    tfgen-evaluate --workdir=runs/vaebm

`:cpu` and `:cpu_vae` fit two cores and less than an hour each; `:runlocal` and `:runlocal_vae` show
every step in a few minutes. Sizes and rates are ours: the paper has no recipe for these data.

    tfgen-train --config=configs/vaebm/mnist.py:runlocal_vae --workdir=runs/vae-local
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = recipes.GREY_MODES


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe of one of `MODES`."""
    return recipes.grey_vaebm(mode, "mnist", smoothing=0.3, step_size=1e-2)
