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

MODES = ("", "vae", "runlocal", "runlocal_vae")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe of one of `MODES`."""
    recipes.check_mode(mode, MODES)
    config = vae_config() if mode.endswith("vae") else energy_config()
    if mode.startswith("runlocal"):
        recipes.shrink_vaebm(config)
    return config


def vae_config() -> config_dict.ConfigDict:
    """The NVAE."""
    config = config_dict.ConfigDict()
    config.model = dict(
        name="nvae",
        image_shape=(64, 64, 3),
        decoder="normal",
        padding=0,
        num_channels=48,
        num_scales=3,
        num_groups=5,
        ada_groups=False,
        latent_channels=20,
        encoder_cells=2,
        decoder_cells=2,
        preprocess_blocks=1,
        preprocess_cells=2,
        postprocess_blocks=1,
        postprocess_cells=2,
        num_flows=1,
        spectral_coefficient=1e-1,
    )
    config.data = dict(name="celeba64", batch_size=256, flip=True)
    config.optimizer = recipes.adamax(warmup_epochs=1)
    config.training = recipes.training(epochs=50)
    config.evaluation = recipes.evaluation()
    return config


def energy_config() -> config_dict.ConfigDict:
    """The energy over it."""
    config = recipes.over_vae()
    config.model = dict(
        name="vaebm",
        energy=dict(architecture="celeba64", num_channels=64),
        num_steps=10,
        step_size=5e-6,
        sample_steps=20,
        negatives="mean",
        spectral_coefficient=0.2,
    )
    # What is not said here is as it was for the NVAE.
    config.data = dict(name="celeba64", batch_size=32, flip=True)
    config.optimizer = recipes.clipped_adam(5e-5)
    config.training = recipes.training(epochs=6)  # 30,000 steps
    config.evaluation = recipes.evaluation()
    return config
