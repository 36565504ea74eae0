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
        image_shape=(256, 256, 3),
        decoder="normal",
        padding=0,
        num_channels=32,
        num_scales=5,
        num_groups=4,
        ada_groups=False,
        latent_channels=20,
        encoder_cells=2,
        decoder_cells=2,
        preprocess_blocks=1,
        preprocess_cells=2,
        postprocess_blocks=1,
        postprocess_cells=2,
        num_flows=2,
        spectral_coefficient=1e-2,
        spectral_initial=10.0,
        recompute=True,
    )
    config.data = dict(name="celeba_hq256", batch_size=64, flip=True, num_bits=5)
    config.optimizer = recipes.adamax(learning_rate=6e-3)
    config.training = recipes.training(epochs=200)
    config.evaluation = recipes.evaluation()
    return config


def energy_config() -> config_dict.ConfigDict:
    """The energy over it."""
    config = recipes.over_vae()
    config.model = dict(
        name="vaebm",
        energy=dict(architecture="celeba_hq256", num_channels=64),
        num_steps=6,
        step_size=3e-6,
        sample_steps=24,
        negatives="mean",
        spectral_coefficient=0.3,
        buffer_size=2000,
        replay_maximum=0.6,
        replay_anneal_steps=3000,
    )
    # What is not said here is as it was for the NVAE.
    config.data = dict(name="celeba_hq256", batch_size=16, flip=True, num_bits=5)
    config.optimizer = recipes.clipped_adam(4e-5)
    config.training = recipes.training(epochs=6)  # 9,000 steps
    config.evaluation = recipes.evaluation()
    return config
