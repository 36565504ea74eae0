r"""NVAE on dynamically binarised MNIST, 28 x 28 padded to 32 x 32.

The paper's recipe: 78.01 nats (NLL, K = 1000) after 21 hours on 2 V100s.

    tfgen-train --config=configs/nvae/mnist.py --workdir=runs/mnist --strategy=mirrored
    tfgen-evaluate --workdir=runs/mnist

`:cpu` is a model for two cores and about an hour; `:wide` has twice the channels, a higher rate and
fewer epochs, for about as long; `:runlocal` shows every step of the same program in a few minutes:

    tfgen-train --config=configs/nvae/mnist.py:runlocal --workdir=runs/mnist-local
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = ("", "cpu", "wide", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    recipes.check_mode(mode, MODES)
    config = recipes.binary_nvae("mnist", batch_size=400, epochs=400)
    recipes.shrink_binary_nvae(config, "cpu" if mode == "wide" else mode, epochs=25)
    if mode == "wide":
        config.model.update(num_channels=16, kl_warmup_fraction=0.1, spectral_coefficient=0.0)
        config.optimizer.learning_rate = 0.015
        config.training.epochs = 11
    return config
