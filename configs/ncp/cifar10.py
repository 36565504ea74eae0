r"""NCP-VAE on CIFAR-10, over an NVAE with a Normal decoder (the paper: FID 51.71 to 24.08).

The paper's classifiers are not public: these sizes are our choice, as is M (it reports 5,000
for its best Fréchet distances, with little gain beyond 500).

    tfgen-train --config=configs/ncp/cifar10.py --config.vae=runs/cifar10 \
        --workdir=runs/cifar10-ncp --strategy=mirrored
    tfgen-evaluate --workdir=runs/cifar10-ncp

`:runlocal` shows every step of the same program over a small NVAE.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = ("", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    return recipes.colour_ncp(mode, "cifar10", batch_size=256, width=128, num_cells=3)
