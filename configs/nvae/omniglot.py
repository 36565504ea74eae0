r"""NVAE on dynamically binarised OMNIGLOT, 28 x 28 padded to 32 x 32.

The recipe is the one LSGM trains its OMNIGLOT autoencoder with (one scale, three groups, three
cells a group); LSGM with its prior in latent space reports at most 87.79 nats and quotes 93.92 for
NVAE, on the `chardata.mat` split.

    tfgen-train --config=configs/nvae/omniglot.py --workdir=runs/omniglot
    tfgen-evaluate --workdir=runs/omniglot

`:cpu` is a model for two cores and twenty minutes; `:runlocal` shows every step of the same
program in a few minutes:

    tfgen-train --config=configs/nvae/omniglot.py:runlocal --workdir=runs/omniglot-local
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = ("", "cpu", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    recipes.check_mode(mode, MODES)
    config = recipes.binary_nvae(
        "omniglot",
        batch_size=128,
        epochs=200,
        num_channels=64,
        num_scales=1,
        num_groups=3,
        ada_groups=False,
        encoder_cells=3,
        decoder_cells=3,
        preprocess_blocks=1,
        preprocess_cells=2,
        postprocess_blocks=1,
        postprocess_cells=2,
    )
    recipes.shrink_binary_nvae(config, mode, epochs=16)
    return config
