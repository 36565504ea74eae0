r"""VAEBM on CIFAR-10: an NVAE with a Normal decoder, and the energy that sharpens it.

The paper's recipes. `:vae` trains the NVAE, the recipe itself the energy over it. The paper reports
FID 12.19 with a persistent buffer, after 30,000 steps on one V100.

    tfgen-train --config=configs/vaebm/cifar10.py:vae --workdir=runs/cifar10-vae
    tfgen-train --config=configs/vaebm/cifar10.py --config.vae=runs/cifar10-vae --workdir=runs/vaebm
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
        data=dict(name="cifar10", batch_size=256, flip=True),
        epochs=400,
        num_channels=128,
        num_scales=1,
        num_groups=30,
        num_flows=1,
        spectral_coefficient=1e-1,
    )


def energy_config() -> config_dict.ConfigDict:
    """The energy over it."""
    return recipes.image_energy(
        "cifar10",
        data=dict(name="cifar10", batch_size=32, flip=True),
        epochs=20,  # 30,000 steps and a little more
        num_channels=128,
        negatives="sample",
        **recipes.REPLAY,
    )
