r"""VAEBM on LSUN Church-64: an NVAE with a Normal decoder, and the energy that sharpens it.

The paper's recipes. `:vae` trains the NVAE, the recipe itself the energy over it. Give the images
as a folder, `--config.data.name=folder:PATH`; the centres are cut out and resized.

    tfgen-train --config=configs/vaebm/lsun_church64.py:vae --workdir=runs/vae
    tfgen-train --config=configs/vaebm/lsun_church64.py --config.vae=runs/vae --workdir=runs/vaebm
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
        data=dict(name="folder:lsun_church", batch_size=256, flip=True),
        epochs=60,
        optimizer=recipes.adamax(warmup_epochs=1),
        num_channels=48,
        num_scales=3,
        num_flows=1,
        spectral_coefficient=1e-1,
    )


def energy_config() -> config_dict.ConfigDict:
    """The energy over it."""
    return recipes.image_energy(
        "lsun_church64",
        data=dict(name="folder:lsun_church", batch_size=32, flip=True),
        epochs=8,  # 30,000 steps
        step_size=4e-6,
        sample_steps=20,
        **recipes.REPLAY,
    )
