r"""NCP-VAE on CelebA 64, over an NVAE with a Normal decoder (the paper: FID 13.48 to 5.25).

The paper's classifiers are not public: these sizes are our choice, as is M (it reports 5,000
for its best Fréchet distances, with little gain beyond 500).

    tfgen-train --config=configs/ncp/celeba64.py --config.vae=runs/celeba64 \
        --workdir=runs/celeba64-ncp --strategy=mirrored
    tfgen-evaluate --workdir=runs/celeba64-ncp

`:runlocal` shows every step of the same program over a small NVAE.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = ("", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    return recipes.colour_ncp(mode, "celeba64", batch_size=128, width=64, num_cells=3)
