r"""NCP-VAE on CelebA-HQ 256, over an NVAE with a Normal decoder (the paper: FID 40.26 to 24.79).

The paper's classifiers are not public: these sizes are our choice, as is M (it reports 5,000
for its best Fréchet distances, with little gain beyond 500).

    tfgen-train --config=configs/ncp/celeba_hq256.py --config.vae=runs/celeba_hq256 \
        --workdir=runs/celeba_hq256-ncp --strategy=mirrored
    tfgen-evaluate --workdir=runs/celeba_hq256-ncp

`:runlocal` shows every step of the same program over a small NVAE.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = ("", "runlocal")


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    return recipes.colour_ncp(mode, "celeba_hq256", batch_size=32, width=32, num_cells=2)
