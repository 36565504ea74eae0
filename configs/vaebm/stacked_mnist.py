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
        num_channels=32,
        num_scales=2,
        num_groups=5,
        ada_groups=False,
        latent_channels=20,
        encoder_cells=2,
        decoder_cells=2,
        preprocess_blocks=1,
        preprocess_cells=2,
        postprocess_blocks=1,
        postprocess_cells=2,
        num_flows=0,
        spectral_coefficient=1e-2,
    )
    config.data = dict(name="stacked_mnist", batch_size=200)
    config.optimizer = recipes.adamax()
    config.training = recipes.training(epochs=60)
    config.evaluation = recipes.evaluation()
    return config


def energy_config() -> config_dict.ConfigDict:
    """The energy over it."""
    config = recipes.over_vae()
    config.model = dict(
        name="vaebm",
        energy=dict(architecture="mnist", num_channels=64),
        num_steps=10,
        step_size=8e-5,
        sample_steps=16,
        negatives="sample",
        spectral_coefficient=0.2,
        buffer_size=10000,
        replay_maximum=0.6,
        replay_anneal_steps=5000,
    )
    # What is not said here is as it was for the NVAE.
    config.data = dict(name="stacked_mnist", batch_size=32)
    config.optimizer = recipes.clipped_adam(4e-5)
    config.training = recipes.training(epochs=16)  # 30,000 steps
    config.evaluation = recipes.evaluation()
    return config
