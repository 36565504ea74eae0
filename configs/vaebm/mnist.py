r"""VAEBM on MNIST, grey levels in 28 x 28: an NVAE with a Normal decoder, and the energy over it.

    tfgen-train --config=configs/vaebm/mnist.py:cpu_vae --workdir=runs/mnist-vae
    tfgen-train --config=configs/vaebm/mnist.py:cpu --config.vae=runs/mnist-vae --workdir=runs/vaebm
    tfgen-evaluate --workdir=runs/vaebm

`:cpu` and `:cpu_vae` fit two cores and less than an hour each; `:runlocal` and `:runlocal_vae` show
every step in a few minutes. Sizes and rates are ours: the paper has no recipe for these data. For
Fashion-MNIST, give the NVAE `--config.data.name=fashion_mnist`; the energy takes its data.

    tfgen-train --config=configs/vaebm/mnist.py:runlocal_vae --workdir=runs/vae-local
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = ("", "vae", "cpu", "cpu_vae", "runlocal", "runlocal_vae")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe of one of `MODES`."""
    recipes.check_mode(mode, MODES)
    config = vae_config() if mode.endswith("vae") else energy_config()
    if mode.startswith(("cpu", "runlocal")):
        _fit_two_cores(config)
    if mode.startswith("runlocal"):
        config.training.update(epochs=2, steps_per_epoch=20, report_steps=5)
        config.optimizer.warmup_epochs = 0
        config.evaluation.update(num_images=64, num_importance_samples=2, batch_size=32)
    return config


def vae_config() -> config_dict.ConfigDict:
    """The NVAE."""
    config = config_dict.ConfigDict()
    config.model = dict(
        name="nvae",
        image_shape=(28, 28, 1),
        decoder="normal",
        padding=2,
        num_channels=32,
        num_scales=2,
        num_groups=5,
        ada_groups=False,
        latent_channels=20,
        encoder_cells=2,
        decoder_cells=2,
        preprocess_blocks=2,
        preprocess_cells=2,
        postprocess_blocks=2,
        postprocess_cells=2,
        num_flows=0,
        spectral_coefficient=1e-2,
    )
    config.data = dict(name="mnist", batch_size=200)
    config.optimizer = recipes.adamax()
    config.training = recipes.training(epochs=200)
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
        negatives="mean",
        spectral_coefficient=0.2,
        energy_coefficient=0.01,
        buffer_size=2000,
        replay_maximum=0.6,
        replay_anneal_steps=5000,
    )
    # What is not said here is as it was for the NVAE.
    config.data = dict(batch_size=32)
    config.optimizer = recipes.clipped_adam(4e-5)
    config.training = recipes.training(epochs=16)
    config.evaluation = recipes.evaluation()
    return config


def _fit_two_cores(config: config_dict.ConfigDict) -> None:
    """Small networks, larger rates, fewer steps."""
    if config.model.name == "nvae":
        config.model.update(
            architecture="res_bnswish",
            num_channels=8,
            num_groups=2,
            latent_channels=8,
            encoder_cells=1,
            decoder_cells=1,
            preprocess_cells=1,
            postprocess_cells=1,
            spectral_coefficient=1e-3,
        )
        config.data.batch_size = 64
        config.optimizer.update(learning_rate=5e-3, warmup_epochs=1)
        config.training.epochs = 7
        config.evaluation.num_importance_samples = 10
        return
    # So few latents allow steps a hundred times as long, and so small an energy needs them. The
    # noise hides from it what it would otherwise look at alone: strokes sharper than any decoder's.
    config.model.update(
        energy=dict(architecture="mnist", num_channels=16),
        step_size=1e-2,
        sample_steps=20,
        smoothing=0.3,
        energy_coefficient=0.02,
        buffer_size=0,
    )
    config.optimizer.update(learning_rate=3e-4, final_learning_rate=3e-5, ema_momentum=0.99)
    config.training.epochs = 1
    config.evaluation.num_importance_samples = 10
