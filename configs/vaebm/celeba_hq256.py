r"""VAEBM on CelebA-HQ 256: an NVAE with a Normal decoder, and the energy that sharpens it.

The paper's recipes. `:vae` trains the NVAE, the recipe itself the energy over it. The paper
reports FID 20.38, after 9,000 steps on four V100s.

    tfgen-train --config=configs/vaebm/celeba_hq256.py:vae --workdir=runs/vae
    tfgen-train --config=configs/vaebm/celeba_hq256.py --config.vae=runs/vae --workdir=runs/vaebm
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
        256,
        data=dict(name="celeba_hq256", batch_size=64, flip=True, num_bits=5),
        epochs=200,
        optimizer=recipes.adamax(learning_rate=6e-3),
        num_channels=32,
        num_scales=5,
        num_groups=4,
        num_flows=2,
        spectral_initial=10.0,
        recompute=True,
    )


def energy_config() -> config_dict.ConfigDict:
    """The energy over it."""
    return recipes.image_energy(
        "celeba_hq256",
        data=dict(name="celeba_hq256", batch_size=16, flip=True, num_bits=5),
        epochs=6,  # 9,000 steps
        num_steps=6,
        step_size=3e-6,
        sample_steps=24,
        spectral_coefficient=0.3,
        buffer_size=2000,
        replay_maximum=0.6,
        replay_anneal_steps=3000,
    )
