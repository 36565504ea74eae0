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
        image_shape=(32, 32, 3),
        decoder="normal",
        padding=0,
        num_channels=128,
        num_scales=1,
        num_groups=30,
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
    config.data = dict(name="cifar10", batch_size=256, flip=True)
    config.optimizer = recipes.adamax()
    config.training = recipes.training(epochs=400)
    config.evaluation = recipes.evaluation()
    return config


def energy_config() -> config_dict.ConfigDict:
    """The energy over it."""
    config = recipes.over_vae()
    config.model = dict(
        name="vaebm",
        energy=dict(architecture="cifar10", num_channels=128),
        num_steps=10,
        step_size=8e-5,
        sample_steps=16,
        negatives="sample",
        spectral_coefficient=0.2,
        buffer_size=10_000,
        replay_maximum=0.6,
        replay_anneal_steps=5000,
    )
    # What is not said here is as it was for the NVAE.
    config.data = dict(name="cifar10", batch_size=32, flip=True)
    config.optimizer = recipes.clipped_adam(4e-5)
    config.training = recipes.training(epochs=20)  # 30,000 steps and a little more
    config.evaluation = recipes.evaluation()
    return config
