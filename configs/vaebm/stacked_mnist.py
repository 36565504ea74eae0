r"""VAEBM on stacked MNIST: an NVAE with a Normal decoder, and the energy that sharpens it.

`:vae` trains the NVAE, the recipe itself the energy over it. Neither the paper nor its code tells
the recipe for these data; this one starts from CIFAR-10's.

    tfgen-train --config=configs/vaebm/stacked_mnist.py:vae --workdir=runs/vae
    tfgen-train --config=configs/vaebm/stacked_mnist.py --config.vae=runs/vae --workdir=runs/vaebm
    tfgen-evaluate --workdir=runs/vaebm

`:runlocal_vae` and `:runlocal` show every step of the same program in a few minutes.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = recipes.VAEBM_MODES


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe of one of `MODES`."""
    return recipes.image_vaebm(mode, vae_config, energy_config)


def vae_config() -> config_dict.ConfigDict:
    """The NVAE."""
    return recipes.normal_nvae(
        32,
        data=dict(name="stacked_mnist", batch_size=200),
        epochs=60,
        num_channels=32,
        num_scales=2,
        num_flows=0,
    )


def energy_config() -> config_dict.ConfigDict:
    """The energy over it."""
    return recipes.image_energy(
        "mnist",
        data=dict(name="stacked_mnist", batch_size=32),
        epochs=16,  # 30,000 steps
        negatives="sample",
        **recipes.REPLAY,
    )
