r"""LSGM on dynamically binarised MNIST: an NVAE, and a diffusion prior trained with it.

The paper's recipe reaches 78.47 nats. The published code's VAE widens its grids otherwise.

    tfgen-train --config=configs/lsgm/mnist.py:vae --workdir=runs/mnist-vae
    tfgen-train --config=configs/lsgm/mnist.py --config.vae=runs/mnist-vae \
        --workdir=runs/mnist-lsgm

`:vae_cpu` and `:cpu` are models for two cores; `:vae_runlocal` and `:runlocal` show every step of
the same programs in a few minutes.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = recipes.SMALL_LSGM_MODES


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    return recipes.binary_lsgm(
        mode,
        "mnist",
        groups=2,
        blocks=(2, 3),
        levels=2,
        batch_sizes=(200, 128),
        epochs=800,
        spectral_coefficient=0.0,
        small_epochs=(25, 6),
    )
