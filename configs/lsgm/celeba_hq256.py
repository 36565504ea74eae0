r"""LSGM on CelebA-HQ at 256 x 256 in five bits: the paper's quantitative model (7.22 FID).

    tfgen-train --config=configs/lsgm/celeba_hq256.py:vae --workdir=runs/celeba-hq256-vae \
        --strategy=multi_worker
    tfgen-train --config=configs/lsgm/celeba_hq256.py --config.vae=runs/celeba-hq256-vae \
        --workdir=runs/celeba-hq256-lsgm --strategy=multi_worker

`:vae_runlocal` and `:runlocal` show every step of the same programs in a few minutes.
"""

from ml_collections import config_dict

from tfgen import recipes

MODES = recipes.LSGM_MODES


def get_config(mode: str = "") -> config_dict.ConfigDict:
    """Returns the recipe, or a smaller one: `mode` is one of `MODES`."""
    recipes.check_mode(mode, MODES)
    vae = recipes.colour_nvae(
        256,
        num_bits=5,
        num_channels=32,
        num_scales=3,
        num_groups=8,
        ada_groups=False,
        num_flows=2,
        spectral_coefficient=3e-2,
    )
    config = recipes.lsgm(
        "celeba_hq256",
        vae,
        {"num_channels": 256, "multipliers": (1, 2, 2, 2), "filtered": True, "recompute": True},
        batch_size=64,
        epochs=1000,
        learning_rate=1e-4,
        warmup_epochs=20,
        model={"algorithm": 2, "weighting": "re", "spectral_coefficient": 1e-2},
        flip=True,
    )
    config.evaluation.split = "validation"
    return recipes.stages(mode, config, 64, 200)
