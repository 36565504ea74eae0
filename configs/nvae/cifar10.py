r"""NVAE on CIFAR-10, 32 x 32 RGB, with one pair of flows a group.

The paper's recipe: 2.91 bits/dim after 55 hours on 8 V100s (2.93 without flows:
`--config.model.num_flows=0`).

    tfgen-train --config=configs/nvae/cifar10.py --workdir=runs/cifar10 \
        --strategy=mirrored --precision=mixed_float16
    tfgen-evaluate --workdir=runs/cifar10

`:runlocal` shows every step of the same program on two cores in a few minutes:

    tfgen-train --config=configs/nvae/cifar10.py:runlocal --workdir=runs/cifar10-local
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = ("", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    recipes.check_mode(mode, MODES)
    config = config_dict.ConfigDict()
    config.model = dict(
        name="nvae",
        image_shape=(32, 32, 3),
        decoder="logistic_mixture",
        num_bits=8,
        num_mixtures=10,
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
        spectral_coefficient=1e-2,
        spectral_initial=config_dict.placeholder(float),  # none: not annealed
        recompute=False,
    )
    config.data = dict(name="cifar10", batch_size=256, flip=True)
    config.optimizer = recipes.adamax()
    config.training = recipes.training(epochs=400)
    config.evaluation = recipes.evaluation(num_importance_samples=1000, batch_size=50)
    if mode == "runlocal":
        config.model.update(num_channels=16, num_groups=3, encoder_cells=1, decoder_cells=1)
        config.data.batch_size = 16
        config.optimizer.warmup_epochs = 1
        config.training.update(epochs=3, steps_per_epoch=20, report_steps=10)
        config.evaluation.update(num_images=50, num_importance_samples=5, batch_size=25)
    return config
