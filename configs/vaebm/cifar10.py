r"""VAEBM on CIFAR-10: an NVAE with a Normal decoder, and the energy that sharpens it.

The paper's recipes. `:vae` trains the NVAE, the recipe itself the energy over it. The paper reports
FID 12.19 with a persistent buffer, after 30,000 steps on one V100.

    tfgen-train --config=configs/vaebm/cifar10.py:vae --workdir=runs/cifar10-vae
    tfgen-train --config=configs/vaebm/cifar10.py --config.vae=runs/cifar10-vae --workdir=runs/vaebm
    tfgen-evaluate --workdir=runs/vaebm

`:runlocal_vae` and `:runlocal` show every step of the same program in a few minutes.
"""

from ml_collections import config_dict

MODES = ("", "vae", "runlocal", "runlocal_vae")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe of one of `MODES`."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is none of {MODES}")
    config = vae_config() if mode.endswith("vae") else energy_config()
    if mode.startswith("runlocal"):
        shrink(config)
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
    config.optimizer = dict(
        name="adamax",
        learning_rate=1e-2,
        warmup_epochs=5,
        final_learning_rate=1e-4,
        weight_decay=3e-4,
        epsilon=1e-3,
        ema_momentum=config_dict.placeholder(float),
    )
    config.training = _training(epochs=400)
    config.evaluation = _evaluation()
    return config


def energy_config() -> config_dict.ConfigDict:
    """The energy over it."""
    config = config_dict.ConfigDict()
    config.vae = config_dict.placeholder(str)  # a preset, or the workdir of the trained NVAE
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
    config.optimizer = dict(
        name="clipped_adam",
        learning_rate=4e-5,
        warmup_epochs=0,
        final_learning_rate=4e-5,
        weight_decay=3e-5,
        epsilon=1e-8,
        ema_momentum=0.999,
    )
    config.training = _training(epochs=20)  # 30,000 steps and a little more
    config.evaluation = _evaluation()
    return config


def _training(epochs: int) -> dict:
    return dict(
        epochs=epochs,
        steps_per_epoch=config_dict.placeholder(int),  # none: one pass over the data
        report_steps=50,
        seed=0,  # of weights, noise and the order of the data
        max_minutes=config_dict.placeholder(float),
    )


def _evaluation() -> dict:
    return dict(
        split="test",
        num_images=config_dict.placeholder(int),  # none: the whole split
        num_importance_samples=100,
        batch_size=100,
    )


def shrink(config: config_dict.ConfigDict) -> None:
    """A few steps of a small model."""
    if config.model.name == "nvae":
        config.model.update(
            num_channels=8, num_groups=2, encoder_cells=1, decoder_cells=1, num_flows=0
        )
    else:
        config.model.energy = dict(architecture="cifar10", num_channels=8)
        config.model.update(num_steps=4, sample_steps=4, buffer_size=64)
    config.data.batch_size = 16
    config.optimizer.warmup_epochs = 0
    config.training.update(epochs=2, steps_per_epoch=10, report_steps=5)
    config.evaluation.update(num_images=64, num_importance_samples=2, batch_size=32)
