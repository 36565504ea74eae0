r"""VAEBM on CelebA-64: an NVAE with a Normal decoder, and the energy that sharpens it.

The paper's recipes. `:vae` trains the NVAE, the recipe itself the energy over it. The paper
reports FID 5.31, after 30,000 steps on one V100.

    tfgen-train --config=configs/vaebm/celeba64.py:vae --workdir=runs/vae
    tfgen-train --config=configs/vaebm/celeba64.py --config.vae=runs/vae --workdir=runs/vaebm
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
        64,
        data=dict(name="celeba64", batch_size=256, flip=True),
        epochs=50,
        optimizer=recipes.adamax(warmup_epochs=1),
        num_channels=48,
        num_scales=3,
        num_flows=1,
        spectral_coefficient=1e-1,
    )


def energy_config() -> config_dict.ConfigDict:
    """The energy over it."""
    return recipes.image_energy(
        "celeba64",
        data=dict(name="celeba64", batch_size=32, flip=True),
        epochs=6,  # 30,000 steps
        learning_rate=5e-5,
        step_size=5e-6,
        sample_steps=20,
    )
