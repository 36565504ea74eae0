r"""LSGM on dynamically binarised OMNIGLOT: an NVAE, and a diffusion prior trained with it.

The paper's recipe reaches 87.79 nats. The published code's VAE widens its grids otherwise.

    tfgen-train --config=configs/lsgm/omniglot.py:vae --workdir=runs/omniglot-vae
    tfgen-train --config=configs/lsgm/omniglot.py --config.vae=runs/omniglot-vae \
        --workdir=runs/omniglot-lsgm

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
        "omniglot",
        groups=3,
        blocks=(1, 2),
        levels=3,
        batch_sizes=(128, 128),
        epochs=1500,
        spectral_coefficient=1e-3,
        small_epochs=(16, 10),
    )
