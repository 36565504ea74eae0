r"""NVAE on dynamically binarised MNIST, 28 x 28 padded to 32 x 32.

The paper's recipe: 78.01 nats (NLL, K = 1000) after 21 hours on 2 V100s.

    tfgen-train --config=configs/nvae/mnist.py --workdir=runs/mnist --strategy=mirrored
    tfgen-evaluate --workdir=runs/mnist

`:cpu` is a model for two cores and about an hour; `:runlocal` shows every step of the
same program in a few minutes:

    tfgen-train --config=configs/nvae/mnist.py:runlocal --workdir=runs/mnist-local
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = ("", "cpu", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    recipes.check_mode(mode, MODES)
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
    config.data = dict(name="mnist", batch_size=400, binarize="dynamic")
    config.optimizer = recipes.adamax()
    config.training = recipes.training(epochs=400)
    config.evaluation = recipes.evaluation(num_importance_samples=1000)
    if mode:
        recipes.shrink_binary_nvae(config, epochs=25)
    if mode == "runlocal":
        config.training.update(epochs=3, steps_per_epoch=40, report_steps=10)
        config.optimizer.warmup_epochs = 1
        config.evaluation.update(num_images=200, num_importance_samples=5)
    return config
