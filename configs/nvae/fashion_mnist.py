r"""NVAE on dynamically binarised Fashion-MNIST, 28 x 28 padded to 32 x 32.

The paper has no number for this data set; the recipe is the one it uses for MNIST.

    tfgen-train --config=configs/nvae/fashion_mnist.py --workdir=runs/fashion-mnist \
        --strategy=mirrored
    tfgen-evaluate --workdir=runs/fashion-mnist

`:cpu` is a model for two cores and twenty minutes; `:runlocal` shows every step of the
same program in a few minutes:

    tfgen-train --config=configs/nvae/fashion_mnist.py:runlocal --workdir=runs/fashion-mnist-local
"""

from ml_collections import config_dict

MODES = ("", "cpu", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is none of {MODES}")
    config = config_dict.ConfigDict()
    config.model = dict(
        name="nvae",
        image_shape=(28, 28, 1),
        decoder="bernoulli",
        padding=2,
        num_channels=32,
        num_scales=2,
        num_groups=10,
        ada_groups=True,
        latent_channels=20,
        encoder_cells=2,
        decoder_cells=2,
        preprocess_blocks=2,
        preprocess_cells=3,
        postprocess_blocks=2,
        postprocess_cells=3,
        num_flows=0,
        spectral_coefficient=1e-2,
    )
    config.data = dict(name="fashion_mnist", batch_size=400, binarize="dynamic")
    config.optimizer = dict(
        name="adamax",
        learning_rate=1e-2,
        warmup_epochs=5,
        final_learning_rate=1e-4,
        weight_decay=3e-4,
        epsilon=1e-3,
        ema_momentum=config_dict.placeholder(float),
    )
    config.training = dict(
        epochs=400,
        steps_per_epoch=config_dict.placeholder(int),  # none: one pass over the data
        report_steps=50,
        seed=0,  # of weights, noise and the order of the data
        max_minutes=config_dict.placeholder(float),
    )
    config.evaluation = dict(
        split="test",
        num_images=config_dict.placeholder(int),  # none: the whole split
        num_importance_samples=1000,
        batch_size=100,
    )
    if mode:
        _shrink(config)
    if mode == "runlocal":
        config.training.update(epochs=3, steps_per_epoch=40, report_steps=10)
        config.optimizer.warmup_epochs = 1
        config.evaluation.update(num_images=200, num_importance_samples=5)
    return config


def _shrink(config: config_dict.ConfigDict) -> None:
    """A model of under a million weights that two cores train in twenty minutes.

    Regular residual cells, and few of them at full size: a step costs half of what it does with
    the paper's depthwise cells.
    """
    config.model.update(
        architecture="res_bnswish",
        num_channels=8,
        num_scales=2,
        num_groups=5,
        ada_groups=True,
        encoder_cells=1,
        decoder_cells=1,
        preprocess_blocks=2,
        preprocess_cells=1,
        postprocess_blocks=2,
        postprocess_cells=1,
        spectral_coefficient=1e-3,
    )
    config.data.batch_size = 64
    config.optimizer.update(learning_rate=5e-3, warmup_epochs=1)
    config.training.update(epochs=6)
    config.evaluation.num_importance_samples = 100
