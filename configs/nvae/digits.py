r"""NVAE on scikit-learn's handwritten digits, 16 x 16, black and white. Needs no network.

What `tools/quickstart` runs: a few minutes on two cores. The paper has no number for these data.

    tfgen-train --config=configs/nvae/digits.py --workdir=runs/digits
    tfgen-evaluate --workdir=runs/digits

`:runlocal` shows every step of the same program in half a minute:

    tfgen-train --config=configs/nvae/digits.py:runlocal --workdir=runs/digits-local
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
    config.optimizer = recipes.adamax(warmup_epochs=2)
    # The minutes guard slow machines: the epochs take about four on two cores.
    config.training = recipes.training(epochs=45, report_steps=10, max_minutes=6.5)
    config.evaluation = recipes.evaluation(num_importance_samples=50)
    if mode == "runlocal":
        config.model.update(num_channels=8, num_groups=1, preprocess_cells=1, postprocess_cells=1)
        config.optimizer.warmup_epochs = 1
        config.training.update(epochs=2, steps_per_epoch=10, report_steps=5)
        config.evaluation.update(num_images=64, num_importance_samples=5, batch_size=32)
    return config
