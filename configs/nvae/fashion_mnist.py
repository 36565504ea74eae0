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
    config.data = dict(name="fashion_mnist", batch_size=400, binarize="dynamic")
    config.optimizer = recipes.adamax()
    config.training = recipes.training(epochs=400)
    config.evaluation = recipes.evaluation(num_importance_samples=1000)
    if mode:
        recipes.shrink_binary_nvae(config, epochs=6)
    if mode == "runlocal":
        config.training.update(epochs=3, steps_per_epoch=40, report_steps=10)
        config.optimizer.warmup_epochs = 1
        config.evaluation.update(num_images=200, num_importance_samples=5)
    return config
