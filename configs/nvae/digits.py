r"""NVAE on scikit-learn's handwritten digits, 16 x 16, black and white. Needs no network.

What `tools/quickstart` runs: a few minutes on two cores. The paper has no number for these data.

    tfgen-train --config=configs/nvae/digits.py --workdir=runs/digits
    tfgen-evaluate --workdir=runs/digits

`:runlocal` shows every step of the same program in half a minute:

    tfgen-train --config=configs/nvae/digits.py:runlocal --workdir=runs/digits-local
"""

from ml_collections import config_dict

MODES = ("", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    if mode not in MODES:
        raise ValueError(f"mode {mode!r} is none of {MODES}")
    config = config_dict.ConfigDict()
    config.model = dict(
        name="nvae",
        image_shape=(16, 16, 1),
        decoder="bernoulli",
        padding=0,
        num_channels=16,
        num_scales=2,
        num_groups=3,
        ada_groups=False,
        latent_channels=8,
        encoder_cells=1,
        decoder_cells=1,
        preprocess_blocks=1,
        preprocess_cells=2,
        postprocess_blocks=1,
        postprocess_cells=2,
        num_flows=0,
        spectral_coefficient=1e-2,
    )
    config.data = dict(name="digits", batch_size=64, binarize="threshold")
    config.optimizer = dict(
        name="adamax",
        learning_rate=1e-2,
        warmup_epochs=2,
        final_learning_rate=1e-4,
        weight_decay=3e-4,
        epsilon=1e-3,
        ema_momentum=config_dict.placeholder(float),
    )
    config.training = dict(
        epochs=45,
        steps_per_epoch=config_dict.placeholder(int),  # none: one pass over the data
        report_steps=10,
        seed=0,  # of weights, noise and the order of the data
        max_minutes=6.5,  # a guard for slow machines; the epochs take about four on two cores
    )
    config.evaluation = dict(
        split="test",
        num_images=config_dict.placeholder(int),  # none: the whole split
        num_importance_samples=50,
        batch_size=100,
    )
    if mode == "runlocal":
        config.model.update(num_channels=8, num_groups=1, preprocess_cells=1, postprocess_cells=1)
        config.optimizer.warmup_epochs = 1
        config.training.update(epochs=2, steps_per_epoch=10, report_steps=5)
        config.evaluation.update(num_images=64, num_importance_samples=5, batch_size=32)
    return config
